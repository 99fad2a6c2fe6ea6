#!/usr/bin/env node
// Creates a run on a coordinator, works on it and drives it to its minimum. See --help.

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { parseArgs } from "node:util";

import { CallError, PayloadError, UsageError } from "./errors.js";

const HELP = `Usage: node src/main.js [options]

Creates a run on a Chronos coordinator, works on it and drives a quadratic to its minimum.

  --coordinator HOST:PORT   the coordinator (127.0.0.1:50551)
  --run-id ID               name of the run (a new one each time)
  --worker-id ID            stable name of this worker (node-<host name>)
  --dimensions N            outer parameters, 1 or more (8)
  --learning-rate X         of plain gradient descent (1.2)
  --max-versions N          the run ends at this version (200)
  --tolerance X             largest distance from the minimum (1e-6)
  --down PIPELINE           how versions come: identity, int8, topk10+int8, ... (identity)
  --pause-seconds X         work that much longer on each version (0)
  --patience-seconds X      how long the coordinator may be away in the middle of the run (60)
  --tls-ca FILE             encrypt, and trust this certificate authority
  --token-file FILE         file with the bearer token
  --quiet                   print only the outcome
  --help                    this text

Exit status: 0 the minimum was reached and the journal verified, 1 it was not, 2 wrong usage.
`;

const OPTIONS = {
  coordinator: { type: "string", default: "127.0.0.1:50551" },
  "run-id": { type: "string", default: `quadratic-node-${randomBytes(4).toString("hex")}` },
  "worker-id": { type: "string", default: `node-${hostname().split(".")[0]}` },
  dimensions: { type: "string", default: "8" },
  "learning-rate": { type: "string", default: "1.2" },
  "max-versions": { type: "string", default: "200" },
  tolerance: { type: "string", default: "1e-6" },
  down: { type: "string", default: "identity" },
  "pause-seconds": { type: "string", default: "0" },
  "patience-seconds": { type: "string", default: "60" },
  "tls-ca": { type: "string" },
  "token-file": { type: "string" },
  quiet: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
};

function readOptions(given) {
  let values;
  try {
    ({ values } = parseArgs({ args: given, options: OPTIONS }));
  } catch (error) {
    throw new UsageError(`${error.message.split("\n")[0].replace(/\.$/, "").split(". ")[0]}; see --help`);
  }
  if (!/^[^:]+:\d+$|^\[.+\]:\d+$/.test(values.coordinator)) {
    throw new UsageError(`--coordinator is ${values.coordinator}; give HOST:PORT`);
  }
  const number = (name, { whole = false, least = 0 } = {}) => {
    const value = values[name].trim() === "" ? NaN : Number(values[name]);
    if (!Number.isFinite(value) || value < least || (whole && !Number.isSafeInteger(value))) {
      throw new UsageError(`--${name} is ${values[name]}; give a ${whole ? "whole number" : "number"} from ${least}`);
    }
    return value;
  };
  return {
    help: values.help,
    quiet: values.quiet,
    coordinator: values.coordinator,
    runId: values["run-id"],
    workerId: values["worker-id"],
    down: values.down,
    tlsCa: values["tls-ca"],
    tokenFile: values["token-file"],
    dimensions: number("dimensions", { whole: true, least: 1 }),
    maxVersions: number("max-versions", { whole: true, least: 1 }),
    // Whether these can work is for the coordinator to say.
    learningRate: number("learning-rate", { least: -Infinity }),
    tolerance: number("tolerance"),
    pauseSeconds: number("pause-seconds"),
    patienceSeconds: number("patience-seconds"),
  };
}

async function main(given) {
  const options = readOptions(given);
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { Coordinator } = await import("./coordinator.js");
  const { Quadratic } = await import("./quadratic.js");
  const { Retrier } = await import("./retry.js");
  const { createRequest, drive, parameter } = await import("./run.js");
  const { Worker } = await import("./worker.js");

  const report = options.quiet ? () => {} : (line) => process.stdout.write(`${line}\n`);
  const coordinator = new Coordinator(options.coordinator, options);
  const retrier = new Retrier({ patienceSeconds: options.patienceSeconds, report });
  const worker = new Worker(coordinator, retrier, { ...options, parameter: parameter(options.dimensions) });
  const request = createRequest(options);
  const ask = (method, message, seconds) =>
    retrier.answer(method, () => coordinator.unary(method, message, seconds));
  try {
    await ask("CreateRun", request);
    report(`created run ${options.runId}`);
    await worker.join();
    const { version, distance } = await drive(worker, new Quadratic(options.dimensions), { ...options, report });
    await ask("StopRun", { run_id: options.runId, reason: "the client is done" });
    const { clean } = await ask("VerifyRun", { run_id: options.runId }, 600);
    const reached = distance <= options.tolerance;
    const outcome = { run: options.runId, version, distance, reached, verified: clean, ...worker.commits };
    process.stdout.write(`${JSON.stringify(outcome)}\n`);
    return reached && clean ? 0 : 1;
  } finally {
    await worker.leave();
    coordinator.close();
  }
}

/** One line that says what is wrong. */
function problem(error) {
  if (error instanceof UsageError) return error.message;
  if (error instanceof PayloadError) return `${error.reason}: ${error.message}`;
  if (error instanceof CallError) {
    if (error.reason) return String(error);
    return `the coordinator does not answer (${error}); check that it runs and that --coordinator is right`;
  }
  return `unexpected: ${error?.stack ?? error}`;
}

main(process.argv.slice(2)).then(
  (status) => {
    process.exitCode = status;
  },
  (error) => {
    process.stderr.write(`chronos-client: ${problem(error)}\n`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  },
);
