// Calls to a coordinator: a deadline on each, payloads in chunks, failures as CallError.

import { readFileSync } from "node:fs";

import { Metadata, credentials } from "@grpc/grpc-js";

import { PayloadError, UsageError } from "./errors.js";
import { CoordinatorService } from "./protos.js";
import { callError } from "./status.js";

export const CHUNK_BYTES = 1 << 20;
const MAX_MESSAGE_BYTES = 16 << 20;
const MAX_PAYLOAD_BYTES = 1 << 30;
const CALL_SECONDS = 10;
const SLOWEST_BYTES_PER_SECOND = 1e6;
const TRANSFER_SECONDS = CALL_SECONDS + MAX_PAYLOAD_BYTES / SLOWEST_BYTES_PER_SECOND;

const OPTIONS = {
  "grpc.enable_retries": 0, // what may be repeated, and what with, this program decides itself
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2000,
  "grpc.keepalive_time_ms": 1000 * CALL_SECONDS,
  "grpc.keepalive_timeout_ms": 500 * CALL_SECONDS,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
};

/** The messages that carry a payload: the first chunk rides with the header, no other one is empty. */
export function* chunkMessages(header, payload) {
  yield { header, chunk: payload.subarray(0, CHUNK_BYTES) };
  for (let start = CHUNK_BYTES; start < payload.length; start += CHUNK_BYTES) {
    yield { chunk: payload.subarray(start, start + CHUNK_BYTES) };
  }
}

/** One connection; it is made with the first call, and again after every loss. */
export class Coordinator {
  #stub;
  #metadata = new Metadata();
  maxPayloadBytes = MAX_PAYLOAD_BYTES;

  /**
   * @param address `host:port`.
   * @param options.tlsCa file with the certificate authority to trust; without it the connection is not encrypted.
   * @param options.tokenFile file with a bearer token.
   */
  constructor(address, { tlsCa, tokenFile } = {}) {
    this.address = address;
    const security = tlsCa ? credentials.createSsl(fileContent(tlsCa, "--tls-ca")) : credentials.createInsecure();
    if (tokenFile) {
      const token = fileContent(tokenFile, "--token-file").toString().trim();
      this.#metadata.set("authorization", `Bearer ${token}`);
    }
    this.#stub = new CoordinatorService(address, security, OPTIONS);
  }

  close() {
    this.#stub.close();
  }

  /** A call with one request and one answer. */
  async unary(method, request, seconds = CALL_SECONDS) {
    try {
      return await new Promise((resolve, reject) => {
        this.#stub[method](request, this.#metadata, { deadline: within(seconds) }, settle(resolve, reject));
      });
    } catch (error) {
      throw callError(error);
    }
  }

  /**
   * Takes a version out.
   *
   * @param request a CheckoutVersionRequest; `waitSeconds` is how long the coordinator may let it wait.
   * @returns `{header, version, digest, notModified, parts: [{kind, payload}]}`
   */
  async checkout(request, waitSeconds = 0) {
    const wait = waitSeconds ? { wait: { seconds: waitSeconds, nanos: 0 } } : {};
    const options = { deadline: within(waitSeconds + TRANSFER_SECONDS) };
    const stream = this.#stub.CheckoutVersion({ ...request, ...wait }, this.#metadata, options);
    // A stream that falls silent is given up long before the deadline that a large payload needs.
    const silence = (seconds) => setTimeout(() => stream.cancel(), 1000 * seconds);
    let timer = silence(waitSeconds + CALL_SECONDS);
    let header = null;
    const chunks = [];
    let received = 0;
    try {
      for await (const message of stream) {
        clearTimeout(timer);
        timer = silence(CALL_SECONDS);
        header ??= admissible(message.header, this.maxPayloadBytes);
        received += message.chunk.length;
        if (received > header.payload_bytes) throw new PayloadError("MALFORMED_PAYLOAD", "more bytes than announced");
        chunks.push(message.chunk);
      }
    } catch (error) {
      throw callError(error);
    } finally {
      clearTimeout(timer);
      stream.cancel();
    }
    return checkoutOf(header, Buffer.concat(chunks));
  }

  /** Commits an update; returns when it is durable. `header` is a CommitHeader without `payload_bytes`. */
  async commit(header, payload) {
    const seconds = CALL_SECONDS + payload.length / SLOWEST_BYTES_PER_SECOND;
    try {
      return await new Promise((resolve, reject) => {
        const options = { deadline: within(seconds) };
        const call = this.#stub.CommitUpdate(this.#metadata, options, settle(resolve, reject));
        const messages = chunkMessages({ ...header, payload_bytes: payload.length }, payload);
        const send = () => {
          for (const message of messages) {
            if (!call.write(message)) return void call.once("drain", send);
          }
          call.end();
        };
        // What a refusal in the middle of the upload does to the stream, its status tells better.
        call.on("error", () => {});
        send();
      });
    } catch (error) {
      throw callError(error);
    }
  }
}

function admissible(header, maxBytes) {
  if (!header) throw new PayloadError("MALFORMED_PAYLOAD", "a checkout begins without a header");
  if (header.payload_bytes > maxBytes) {
    throw new PayloadError("PAYLOAD_TOO_LARGE", `a checkout of ${header.payload_bytes} bytes; ${maxBytes} at most`);
  }
  return header;
}

function checkoutOf(header, payload) {
  const declared = header?.parts.reduce((sum, part) => sum + part.length, 0);
  if (!header || payload.length !== header.payload_bytes || payload.length !== declared) {
    throw new PayloadError("MALFORMED_PAYLOAD", "a checkout was cut, or its parts are not what was streamed");
  }
  let start = 0;
  const parts = header.parts.map(({ kind, length }) => {
    start += length;
    return { kind, payload: payload.subarray(start - length, start) };
  });
  const [{ version }] = header.versions;
  return { header, version, digest: header.digest, notModified: header.not_modified, parts };
}

function fileContent(path, flag) {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`${flag} ${path} cannot be read: ${error.code}`);
  }
}

const within = (seconds) => new Date(Date.now() + 1000 * seconds);
const settle = (resolve, reject) => (error, answer) => (error ? reject(error) : resolve(answer));
