// A cursor over bytes that are not trusted.

import { PayloadError } from "./errors.js";

const ALIGNMENT = 8;

/** How many zeros bring a length to the next multiple of 8. */
export const padding = (length) => (ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT;

export const malformed = (message) => new PayloadError("MALFORMED_PAYLOAD", message);

/** Takes little-endian numbers, bytes and arrays one after the other and refuses to pass the end. */
export class Reader {
  #bytes;
  #position = 0;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  /** Bytes not taken yet. */
  get left() {
    return this.#bytes.length - this.#position;
  }

  u8() {
    return this.take(1).readUInt8();
  }

  u16() {
    return this.take(2).readUInt16LE();
  }

  u32() {
    return this.take(4).readUInt32LE();
  }

  /** A BigInt: what is announced may be anything. */
  u64() {
    return this.take(8).readBigUInt64LE();
  }

  /** The next bytes, without a copy. */
  take(length) {
    if (length > this.left) throw malformed("the payload ends before its content does");
    this.#position += length;
    return this.#bytes.subarray(this.#position - length, this.#position);
  }

  /** The next bytes and the zeros that align what follows. */
  takePadded(length) {
    const piece = this.take(length);
    if (this.take(padding(length)).some((byte) => byte !== 0)) throw malformed("padding is not zero");
    return piece;
  }

  /** The next `size` values in an array of their own, and their padding. */
  array(Type, size) {
    const piece = this.takePadded(size * Type.BYTES_PER_ELEMENT);
    const values = new Type(size);
    piece.copy(Buffer.from(values.buffer));
    return values;
  }
}
