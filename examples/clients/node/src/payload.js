// Payloads: the frame, the head of every array, the codecs `identity` and `mixed`. docs/wire-format.md says it all.

import { crc32 } from "node:zlib";

import { MAX_DIMENSIONS, MAX_NAME_BYTES, TYPES, bytesOf, elements, requireLike, sortedNames } from "./arrays.js";
import { PayloadError } from "./errors.js";
import { Reader, malformed, padding } from "./reader.js";
import { readDense, readInt8, readSparse } from "./values.js";

const HEADER_BYTES = 16;
const IDENTITY = 1;
const MIXED = 2;
const REVISION = 1;
const DTYPES = { 1: "float32", 2: "float64" };
const DTYPE_CODES = { float32: 1, float64: 2 };
const CONTROL = /\p{Cc}/u;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The identity payload of named arrays: there is exactly one. */
export function encodeIdentity(arrays) {
  const names = sortedNames(arrays);
  const prologue = Buffer.alloc(8);
  prologue.writeUInt32LE(names.length);
  const pieces = [prologue];
  for (const name of names) {
    const { dtype, shape, values } = arrays[name];
    const encoded = Buffer.from(name);
    checkName(name, encoded.length);
    const head = Buffer.alloc(8 + 8 * shape.length + encoded.length + padding(encoded.length));
    head.writeUInt8(DTYPE_CODES[dtype], 0);
    head.writeUInt8(shape.length, 1);
    head.writeUInt16LE(encoded.length, 2);
    shape.forEach((extent, axis) => head.writeBigUInt64LE(BigInt(extent), 8 + 8 * axis));
    encoded.copy(head, 8 + 8 * shape.length);
    pieces.push(head, bytesOf(values), Buffer.alloc(padding(values.byteLength)));
  }
  return seal(IDENTITY, pieces);
}

/**
 * The arrays of a payload. Nothing in it is trusted, and nothing is allocated before it was found admissible.
 *
 * @param payload a Buffer or Uint8Array.
 * @param options.maxBytes the most bytes that the payload, and that its arrays, may take.
 * @param options.specs the arrays that must come out, `[{name, dtype, shape}]`.
 * @throws PayloadError
 */
export function decode(payload, { maxBytes = Infinity, specs = null } = {}) {
  if (payload.length > maxBytes) {
    throw new PayloadError("PAYLOAD_TOO_LARGE", `${payload.length} bytes, at most ${maxBytes} are admitted`);
  }
  const { codec, revision, body } = unseal(Buffer.from(payload.buffer, payload.byteOffset, payload.length));
  if ((codec !== IDENTITY && codec !== MIXED) || revision !== REVISION) {
    throw new PayloadError("UNKNOWN_CODEC", `codec id ${codec}, revision ${revision} is unknown to this client`);
  }
  const limit = specs === null ? maxBytes : Math.min(maxBytes, Math.max(denseBytes(specs), payload.length));
  const arrays = readBody(body, codec === IDENTITY ? readIdentity : readMixed, limit);
  if (specs !== null) requireLike(arrays, specs);
  return arrays;
}

function seal(codec, pieces) {
  const body = Buffer.concat(pieces);
  const header = Buffer.alloc(HEADER_BYTES);
  header.write("CH", "latin1");
  header.writeUInt8(codec, 2);
  header.writeUInt8(REVISION, 3);
  header.writeBigUInt64LE(BigInt(body.length), 8);
  header.writeUInt32LE(checksum(header, body), 4);
  return Buffer.concat([header, body]);
}

function unseal(payload) {
  if (payload.length < HEADER_BYTES) throw malformed(`a payload has ${HEADER_BYTES} bytes or more`);
  if (payload.toString("latin1", 0, 2) !== "CH") throw malformed("not a Chronos payload");
  const body = payload.subarray(HEADER_BYTES);
  if (payload.readBigUInt64LE(8) !== BigInt(body.length)) throw malformed("the payload was cut or extended");
  if (payload.readUInt32LE(4) !== checksum(payload, body)) throw malformed("the payload's checksum is wrong");
  return { codec: payload[2], revision: payload[3], body };
}

const checksum = (header, body) => crc32(body, crc32(header.subarray(8, 16), crc32(header.subarray(0, 4))));

function readBody(body, readValues, maxBytes) {
  const reader = new Reader(body);
  const count = reader.u32();
  if (reader.u32() !== 0) throw malformed("a reserved field is not zero");
  if (8 * count > reader.left) throw malformed(`${count} arrays are announced, more than the payload can hold`);
  const arrays = Object.create(null);
  let previous = null;
  let total = 0;
  for (let index = 0; index < count; index += 1) {
    const head = readHead(reader);
    if (head.name in arrays) throw new PayloadError("NAME_MISMATCH", `array ${head.name} occurs twice`);
    if (previous !== null && Buffer.compare(head.encodedName, previous) < 0) throw malformed("names must ascend");
    total += head.size * TYPES[head.dtype].BYTES_PER_ELEMENT;
    if (total > maxBytes) {
      throw new PayloadError("PAYLOAD_TOO_LARGE", `the arrays take more than the ${maxBytes} bytes admitted`);
    }
    previous = head.encodedName;
    arrays[head.name] = { dtype: head.dtype, shape: head.shape, values: readValues(reader, head) };
  }
  if (reader.left) throw malformed(`${reader.left} bytes follow the last array`);
  return arrays;
}

function readHead(reader) {
  const dtypeCode = reader.u8();
  const dimensions = reader.u8();
  const nameBytes = reader.u16();
  const tag = reader.u32();
  if (dimensions > MAX_DIMENSIONS) throw malformed(`an array of ${dimensions} dimensions`);
  if (nameBytes < 1 || nameBytes > MAX_NAME_BYTES) {
    throw new PayloadError("NAME_MISMATCH", `a name of ${nameBytes} bytes; 1 to ${MAX_NAME_BYTES} are allowed`);
  }
  const extents = Array.from({ length: dimensions }, () => reader.u64());
  const encodedName = reader.takePadded(nameBytes);
  const name = decodedName(encodedName);
  if (!(dtypeCode in DTYPES)) throw new PayloadError("DTYPE_MISMATCH", `array ${name} has dtype code ${dtypeCode}`);
  const size = elements(name, extents);
  return { name, encodedName, dtype: DTYPES[dtypeCode], shape: extents.map(Number), size, tag };
}

function decodedName(encoded) {
  let name;
  try {
    name = utf8.decode(encoded);
  } catch {
    throw new PayloadError("NAME_MISMATCH", "an array's name is not UTF-8");
  }
  return checkName(name, encoded.length);
}

function checkName(name, bytes) {
  if (bytes < 1 || bytes > MAX_NAME_BYTES || CONTROL.test(name)) {
    throw new PayloadError("NAME_MISMATCH", `illegal array name ${JSON.stringify(name)}`);
  }
  return name;
}

function readIdentity(reader, head) {
  if (head.tag !== 0) throw malformed("a reserved field is not zero");
  return reader.array(TYPES[head.dtype], head.size);
}

function readMixed(reader, head) {
  const read = { 1: readDense, 2: readInt8, 3: readSparse }[head.tag];
  if (read === undefined) throw malformed(`array ${head.name} has the unknown encoding ${head.tag}`);
  return read(reader, head);
}

function denseBytes(specs) {
  return specs.reduce((sum, { name, dtype, shape }) => sum + elements(name, shape) * TYPES[dtype].BYTES_PER_ELEMENT, 0);
}
