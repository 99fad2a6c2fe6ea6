// The golden vectors of protos/testdata, byte for byte: what every client in every language must agree on.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { TYPES, bytesOf, digest } from "../src/arrays.js";
import { chunkMessages } from "../src/coordinator.js";
import { decode, encodeIdentity } from "../src/payload.js";
import { message } from "../src/protos.js";
import { applyDelta, limits } from "../src/replica.js";
import { refusal } from "../src/status.js";

const FOLDER = process.env.CHRONOS_TESTDATA ?? fileURLToPath(new URL("../../../../protos/testdata", import.meta.url));
const manifest = JSON.parse(readFileSync(`${FOLDER}/manifest.json`, "utf8"));
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** The arrays of the manifest: all values of small ones, those that are not +0 of large ones. */
function arraysOf(plain) {
  const arrays = {};
  for (const [name, { dtype, shape, values, at, nonzero }] of Object.entries(plain)) {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const flat = values ? TYPES[dtype].from(values) : new TYPES[dtype](size);
    at?.forEach((position, index) => (flat[position] = nonzero[index]));
    arrays[name] = { dtype, shape, values: flat };
  }
  return arrays;
}

/** Equal bits: -0 is not 0. */
function assertSame(found, wanted) {
  assert.deepEqual(Object.keys(found).sort(), Object.keys(wanted).sort());
  for (const [name, { dtype, shape, values }] of Object.entries(wanted)) {
    assert.equal(found[name].dtype, dtype);
    assert.deepEqual(found[name].shape, shape);
    assert.ok(bytesOf(found[name].values).equals(bytesOf(values)), `values of ${name}`);
  }
}

test("there are vectors of every kind", () => {
  for (const kind of ["payloads", "malformed", "deltas", "limits", "messages", "statuses", "chunks"]) {
    assert.ok(manifest[kind].length > 0, kind);
  }
});

for (const { name, file, bytes, codec, digest: expected, arrays: plain } of manifest.payloads) {
  test(`payload ${name}`, () => {
    const payload = readFileSync(`${FOLDER}/${file}`);
    const wanted = arraysOf(plain);
    assert.equal(payload.length, bytes);
    assertSame(decode(payload), wanted);
    assert.equal(digest(wanted), expected);
    if (codec === 1) assert.ok(encodeIdentity(wanted).equals(payload), "encoded again");
  });
}

for (const { name, hex, reason, specs = null, max_bytes: maxBytes = Infinity } of manifest.malformed) {
  test(`malformed payload ${name}`, () => {
    assert.throws(() => decode(Buffer.from(hex, "hex"), { specs, maxBytes }), { name: "PayloadError", reason });
  });
}

for (const { name, lower, upper, held, payload, after, digest: expected } of manifest.deltas) {
  test(`delta ${name}`, () => {
    const { dtype } = held.u;
    const parameter = { name: "u", dtype, scale: "SCALE_LINEAR", lower: lower ?? undefined, upper: upper ?? undefined };
    const found = applyDelta(arraysOf(held), decode(Buffer.from(payload, "hex")), [parameter]);
    assertSame(found, arraysOf(after));
    assert.equal(digest(found), expected);
  });
}

for (const { dtype, lower, upper, low, high } of manifest.limits) {
  test(`${dtype} within ${lower} and ${upper}`, () => {
    assert.deepEqual(limits({ dtype, scale: "SCALE_LINEAR", lower, upper }), { low, high });
  });
}

for (const { type, fields, hex } of manifest.messages) {
  test(`message ${type}`, () => {
    const { serialize, deserialize } = message(type);
    assert.equal(serialize(fields).toString("hex"), hex);
    assertHolds(deserialize(Buffer.from(hex, "hex")), fields);
  });
}

/** What was decoded has all these fields; bytes are base64 in the manifest. */
function assertHolds(found, fields) {
  if (Buffer.isBuffer(found)) assert.equal(found.toString("base64"), fields);
  else if (typeof fields !== "object") assert.equal(found, fields);
  else for (const [name, value] of Object.entries(fields)) assertHolds(found[name], value);
}

for (const { hex, reason, details, fields, retry_seconds: retrySeconds } of manifest.statuses) {
  test(`refusal ${reason}`, () => {
    const told = refusal(Buffer.from(hex, "hex"));
    assert.deepEqual({ fields: [], retrySeconds: null, ...told }, { reason, details, fields, retrySeconds });
  });
}

for (const { elements, header, payload_sha256: expected, messages } of manifest.chunks) {
  test(`commit of ${elements} elements in chunks`, () => {
    const values = Float32Array.from({ length: elements }, (_, i) => ((7919 * i + 17) % 1025) / 128 - 4);
    const payload = encodeIdentity({ u: { dtype: "float32", shape: [elements], values } });
    assert.equal(sha256(payload), expected);
    const { serialize } = message("chronos.v1.CommitUpdateRequest");
    const found = [...chunkMessages(header, payload)].map(serialize);
    assert.deepEqual(
      found.map((bytes) => ({ bytes: bytes.length, sha256: sha256(bytes) })),
      messages,
    );
  });
}
