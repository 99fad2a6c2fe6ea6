// The wire contract, read from the .proto files at start: nothing is generated.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import { UsageError } from "./errors.js";

const CONTRACT = process.env.CHRONOS_PROTOS ?? fileURLToPath(new URL("../../../../protos", import.meta.url));
const GOOGLE = fileURLToPath(new URL("../../protos", import.meta.url));

if (!existsSync(`${CONTRACT}/chronos/v1/coordinator.proto`)) {
  throw new UsageError(`no chronos/v1/coordinator.proto below ${CONTRACT}; set CHRONOS_PROTOS to the folder that has it`);
}

const definition = loadSync(["chronos/v1/coordinator.proto", "google/rpc/refusal.proto"], {
  includeDirs: [CONTRACT, GOOGLE],
  // Versions, sequence numbers and sizes of this program stay far below 2^53, where a number is still exact.
  longs: Number,
  enums: String,
  defaults: true,
  keepCase: true,
});

/** `CoordinatorService` as grpc-js calls it. */
export const { CoordinatorService } = loadPackageDefinition(definition).chronos.v1;

/** `{serialize, deserialize}` of a message by its full name, such as "google.rpc.ErrorInfo". */
export const message = (name) => definition[name];
