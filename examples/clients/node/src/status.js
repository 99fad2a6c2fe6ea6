// Failed calls: from gRPC's status and the details in its trailing metadata to a CallError.

import { status as codes } from "@grpc/grpc-js";

import { CallError } from "./errors.js";
import { message as typed } from "./protos.js";

const DETAILS = "grpc-status-details-bin";
const DOMAIN = "chronos";
const CODE_NAMES = Object.fromEntries(Object.entries(codes).map(([name, code]) => [code, name]));

const KINDS = new Set(["google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo"]);

/** The CallError of what grpc-js threw; anything else comes back as it is. */
export function callError(error) {
  if (typeof error?.code !== "number" || !(error.code in CODE_NAMES)) return error;
  const [packed] = error.metadata?.get(DETAILS) ?? [];
  let told = {};
  try {
    if (packed) told = refusal(packed);
  } catch {
    // Details that cannot be read are no details: the status itself still counts.
  }
  return new CallError({
    code: error.code,
    codeName: CODE_NAMES[error.code],
    message: oneLine(error.details || error.message),
    ...told,
  });
}

/** What a serialised google.rpc.Status tells: `{reason, details, fields, retrySeconds}`. */
export function refusal(bytes) {
  const told = {};
  for (const { type_url: url, value } of typed("google.rpc.Status").deserialize(bytes).details) {
    const name = url.slice(url.lastIndexOf("/") + 1);
    if (!KINDS.has(name)) continue;
    const message = typed(name).deserialize(value);
    if (name === "google.rpc.ErrorInfo" && message.domain === DOMAIN) {
      told.reason = message.reason;
      told.details = Object.fromEntries(Object.entries(message.metadata).map(([key, text]) => [key, detail(text)]));
    } else if (name === "google.rpc.BadRequest") {
      told.fields = message.field_violations.map(({ field }) => field);
    } else if (name === "google.rpc.RetryInfo" && message.retry_delay) {
      told.retrySeconds = message.retry_delay.seconds + message.retry_delay.nanos / 1e9;
    }
  }
  return told;
}

/** A fact with its type: numbers and quoted text are JSON, everything else is text. */
function detail(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "number" || typeof value === "string" ? value : text;
  } catch {
    return text;
  }
}

const oneLine = (text) => text.replace(/ Resolution note:\s*$/, "").replaceAll(/\s+/g, " ").trim();
