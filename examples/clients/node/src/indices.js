// Where the values of a sparse array are: ascending positions in the flat array.

import { decompress } from "fzstd";

import { malformed } from "./reader.js";

const SPAN = 1 << 16;
const MORE = 255;
const ZSTD_MAGIC = 0xfd2fb528;
const MAX_WINDOW_BYTES = 8 << 20;
const MAX_BLOCK_BYTES = 1 << 17;

/** For each 65,536 positions the number of listed ones (u32), then each one's offset in its block (u16). */
export function readBlock16(data, count, size) {
  const blocks = Math.ceil(size / SPAN);
  if (data.length !== 4 * blocks + 2 * count) throw malformed("the positions have another length than they need");
  const positions = new Float64Array(count); // above 2^32 there are no typed integers that index an array
  let next = 0;
  for (let block = 0; block < blocks; block += 1) {
    const here = data.readUInt32LE(4 * block);
    if (next + here > count) throw malformed("the counts of positions do not add up");
    for (const end = next + here; next < end; next += 1) {
      positions[next] = block * SPAN + data.readUInt16LE(4 * blocks + 2 * next);
    }
  }
  if (next !== count) throw malformed("the counts of positions do not add up");
  return requireAscending(positions, size);
}

/** The length of the raw bytes (u64), then one zstd frame of them: how many positions to skip before each one. */
export function readGaps(data, count, size) {
  if (data.length < 8) throw malformed("the payload ends before its gaps do");
  const announced = data.readBigUInt64LE();
  if (announced < BigInt(count) || announced > BigInt(count + Math.floor(size / MORE))) {
    throw malformed(`${announced} gap bytes cannot place ${count} positions among ${size}`);
  }
  const raw = decompressed(data.subarray(8), Number(announced));
  const positions = new Float64Array(count);
  let found = 0;
  let at = 0;
  for (const byte of raw) {
    at += byte;
    if (byte === MORE) continue;
    if (found === count) throw malformed(`the gap bytes do not place ${count} positions`);
    positions[found] = at;
    found += 1;
    at += 1;
  }
  if (found !== count || (raw.length && raw.at(-1) === MORE)) {
    throw malformed(`the gap bytes do not place ${count} positions`);
  }
  return requireAscending(positions, size);
}

function requireAscending(positions, size) {
  const ascend = positions.every((position, index) => index === 0 || position > positions[index - 1]);
  if (!ascend || (positions.length && positions.at(-1) >= size)) {
    throw malformed(`positions do not ascend, or pass the ${size} values`);
  }
  return positions;
}

/** The content of one zstd frame that must hold exactly `length` bytes; no more is ever allocated. */
function decompressed(frame, length) {
  requireFrame(frame, length);
  let content;
  try {
    content = decompress(frame);
  } catch (error) {
    throw malformed(`the gaps cannot be decompressed: ${error.message}`);
  }
  if (content.length !== length) throw malformed(`the zstd frame holds ${content.length} bytes, not ${length}`);
  return content;
}

/** Reads what the decompressor would believe: RFC 8878, sections 3.1.1.1 (frame header) and 3.1.1.2 (blocks). */
function requireFrame(frame, length) {
  const header = frameHeader(frame);
  if (header.contentBytes !== BigInt(length) || header.windowBytes > Math.max(length, MAX_WINDOW_BYTES)) {
    throw malformed(`the zstd frame is not one of ${length} gap bytes`);
  }
  let at = header.bytes;
  for (let last = false; !last; ) {
    if (at + 3 > frame.length) throw malformed("the zstd frame was cut");
    const block = frame.readUIntLE(at, 3);
    const [type, bytes] = [(block >> 1) & 3, block >> 3];
    if (type === 3 || bytes > MAX_BLOCK_BYTES) throw malformed("the zstd frame has a block of an unknown type");
    last = (block & 1) === 1;
    at += 3 + (type === 1 ? 1 : bytes);
  }
  if (at + header.checksumBytes !== frame.length) throw malformed("the zstd frame was cut or extended");
}

function frameHeader(frame) {
  if (frame.length < 6 || frame.readUInt32LE(0) !== ZSTD_MAGIC) throw malformed("the gaps are not a zstd frame");
  const descriptor = frame[4];
  const singleSegment = (descriptor & 0x20) !== 0;
  if (descriptor & 0x0b) throw malformed("the zstd frame needs a dictionary, or a later decompressor");
  const windowField = singleSegment ? 0 : 1;
  const sizeField = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6];
  const bytes = 5 + windowField + sizeField;
  if (frame.length < bytes) throw malformed("the zstd frame was cut");
  if (sizeField === 0) throw malformed("the zstd frame does not say how much it holds");
  const stored = frame.subarray(5 + windowField, bytes);
  const contentBytes = sizeField === 8 ? stored.readBigUInt64LE() : BigInt(stored.readUIntLE(0, sizeField));
  const exponent = frame[5] >> 3;
  const windowBytes = singleSegment ? 0 : 2 ** (10 + exponent) * (1 + (frame[5] & 7) / 8);
  return {
    bytes,
    contentBytes: sizeField === 2 ? contentBytes + 256n : contentBytes,
    windowBytes,
    checksumBytes: descriptor & 4 ? 4 : 0,
  };
}
