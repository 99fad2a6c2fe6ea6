// Values in the encodings of the codec `mixed`: dense, int8 in blocks, sparse.

import { TYPES } from "./arrays.js";
import { PayloadError } from "./errors.js";
import { readBlock16, readGaps } from "./indices.js";
import { malformed } from "./reader.js";

const MAX_BLOCK = 1 << 20;
const FLOAT32_MAX = 3.4028234663852886e38;
const MAX_SCALE = below(Math.fround(FLOAT32_MAX / 127)); // 127 times it is finite
const VALUES = { FLOAT32: 1, INT8: 2 };
const INDICES = { BLOCK16: 1, GAPS: 2 };

/** Whole values; they must be finite. */
export function readDense(reader, head) {
  return requireFinite(reader.array(TYPES[head.dtype], head.size), head.name);
}

/** A block size, codes and scales. */
export function readInt8(reader, head) {
  const block = reader.u32();
  if (reader.u32() !== 0) throw malformed("a reserved field is not zero");
  return dequantised(reader, head.size, block, head.dtype);
}

/** Some values and where they are; +0 everywhere else. */
export function readSparse(reader, head) {
  const kind = reader.u8();
  const positions = reader.u8();
  const reserved = reader.u16();
  const block = reader.u32();
  const announced = reader.u64();
  const indexBytes = reader.u64();
  if (reserved !== 0 || (kind === VALUES.FLOAT32 && block !== 0)) throw malformed("a reserved field is not zero");
  if (announced > BigInt(head.size)) throw malformed(`array ${head.name} lists more values than it has`);
  const count = Number(announced);
  const data = reader.takePadded(Number(indexBytes));
  const indices = readIndices(positions, data, count, head);
  const listed = readListed(kind, reader, count, block, head);
  const values = allocate(TYPES[head.dtype], head.size);
  indices.forEach((position, index) => {
    values[position] = listed[index];
  });
  return values;
}

function readIndices(positions, data, count, head) {
  if (positions === INDICES.BLOCK16) return readBlock16(data, count, head.size);
  if (positions === INDICES.GAPS) return readGaps(data, count, head.size);
  throw malformed(`array ${head.name} has the unknown index encoding ${positions}`);
}

function readListed(kind, reader, count, block, head) {
  if (kind === VALUES.FLOAT32) return requireFinite(reader.array(Float32Array, count), head.name);
  if (kind === VALUES.INT8) return dequantised(reader, count, block, head.dtype);
  throw malformed(`array ${head.name} has the unknown value encoding ${kind}`);
}

function dequantised(reader, size, block, dtype) {
  if (block < 1 || block > MAX_BLOCK) throw malformed(`a block of ${block} values; 1 to ${MAX_BLOCK} are allowed`);
  const codes = reader.array(Int8Array, size);
  const scales = reader.array(Float32Array, Math.ceil(size / block));
  if (!scales.every((scale) => scale >= 0 && scale <= MAX_SCALE)) throw malformed("a scale is out of its range");
  if (codes.includes(-128)) throw malformed("the payload holds the code -128; codes lie in -127..127");
  const values = allocate(TYPES[dtype], size);
  for (let index = 0; index < size; index += 1) {
    // The product of 7 and 24 bits is exact in a double, so that this rounds once, to float32.
    values[index] = Math.fround(codes[index] * scales[Math.floor(index / block)]);
  }
  return values;
}

function requireFinite(values, name) {
  if (!values.every(Number.isFinite)) {
    throw new PayloadError("NON_FINITE", `array ${name} holds a value that is not finite`);
  }
  return values;
}

function allocate(Type, size) {
  try {
    return new Type(size);
  } catch {
    throw new PayloadError("PAYLOAD_TOO_LARGE", "the arrays do not fit into memory; give the size that you expect");
  }
}

function below(float32) {
  const bits = new Uint32Array(Float32Array.of(float32).buffer);
  bits[0] -= 1;
  return new Float32Array(bits.buffer)[0];
}
