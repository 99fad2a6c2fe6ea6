// Named arrays, `{name: {dtype, shape, values}}` with values in a Float32Array or Float64Array, row-major.

import { createHash } from "node:crypto";
import { endianness } from "node:os";

import { PayloadError } from "./errors.js";

if (endianness() !== "LE") {
  throw new Error("this client reads payloads in place and so needs a little-endian machine");
}

export const MAX_ELEMENTS = 2n ** 48n;
export const MAX_DIMENSIONS = 32;
export const MAX_NAME_BYTES = 255;

export const TYPES = { float32: Float32Array, float64: Float64Array };

/** Number of elements of a shape; an illegal one is refused. */
export function elements(name, shape) {
  if (shape.length > MAX_DIMENSIONS) throw new PayloadError("SHAPE_MISMATCH", `array ${name} has too many dimensions`);
  // An extent of zero counts as one, so that no product of the others can overflow unseen.
  const bound = shape.reduce((product, extent) => product * (BigInt(extent) || 1n), 1n);
  if (bound > MAX_ELEMENTS) throw new PayloadError("SHAPE_MISMATCH", `array ${name} has more than 2^48 elements`);
  return Number(shape.reduce((product, extent) => product * BigInt(extent), 1n));
}

/** The names in ascending order of their UTF-8 bytes (JavaScript's own order is that of UTF-16). */
export function sortedNames(arrays) {
  return Object.keys(arrays).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** The bytes of a typed array, without a copy. */
export const bytesOf = (values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);

/** SHA-256 over the canonical bytes, in hexadecimal: see docs/wire-format.md, "Digest". */
export function digest(arrays) {
  const hash = createHash("sha256").update("chronos.arrays.v1\n");
  const number = (value, bytes) => {
    const buffer = Buffer.alloc(bytes);
    if (bytes === 8) buffer.writeBigUInt64LE(BigInt(value));
    else buffer.writeUInt32LE(value);
    hash.update(buffer);
  };
  const names = sortedNames(arrays);
  number(names.length, 4);
  for (const name of names) {
    const { dtype, shape, values } = arrays[name];
    for (const text of [name, dtype]) {
      number(Buffer.byteLength(text), 4);
      hash.update(text);
    }
    number(shape.length, 4);
    for (const extent of shape) number(extent, 8);
    hash.update(bytesOf(values));
  }
  return hash.digest("hex");
}

/** Refuses arrays that are not exactly those of `specs`, a list of `{name, dtype, shape}`. */
export function requireLike(arrays, specs) {
  const wanted = new Set(specs.map(({ name }) => name));
  const missing = [...wanted].filter((name) => !Object.hasOwn(arrays, name));
  const unexpected = Object.keys(arrays).filter((name) => !wanted.has(name));
  if (missing.length || unexpected.length) {
    throw new PayloadError("NAME_MISMATCH", `arrays missing: [${missing}], unexpected: [${unexpected}]`);
  }
  for (const { name, dtype, shape } of specs) {
    const found = arrays[name];
    if (found.shape.length !== shape.length || found.shape.some((extent, axis) => extent !== shape[axis])) {
      throw new PayloadError("SHAPE_MISMATCH", `array ${name} has shape [${found.shape}], expected [${shape}]`);
    }
    if (found.dtype !== dtype) {
      throw new PayloadError("DTYPE_MISMATCH", `array ${name} is ${found.dtype}, expected ${dtype}`);
    }
  }
}
