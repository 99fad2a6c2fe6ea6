// The run: defined, created and driven from here.

import { setTimeout as sleep } from "node:timers/promises";

import { encodeIdentity } from "./payload.js";
import { INNER_STEPS } from "./quadratic.js";

/** The only outer parameter: float64, linear, so that u = λ. */
export const parameter = (dimensions) => ({ name: "u", shape: [dimensions], dtype: "float64", scale: "SCALE_LINEAR" });

/** The message that creates the run, with zeros as its initial value. */
export function createRequest({ runId, dimensions, learningRate, maxVersions, down }) {
  const { name, shape, dtype, scale } = parameter(dimensions);
  return {
    run_id: runId,
    config: {
      parameters: [{ name, shape, dtype: "DTYPE_FLOAT64", scale }],
      optimizer: { name: "sgd", options: { learning_rate: learningRate } },
      rounds: { quorum: 1 },
      work: { inner_steps: INNER_STEPS, kind: "UPDATE_KIND_HYPERGRADIENT" },
      compression: { up: "identity", down },
      max_versions: maxVersions,
    },
    initial_payload: encodeIdentity({ [name]: { dtype, shape, values: new Float64Array(dimensions) } }),
  };
}

/**
 * Works until the outer parameters are as near to the minimum as `tolerance`, or the run is over.
 *
 * @returns `{version, distance}` of the last version that was checked out.
 */
export async function drive(worker, problem, { tolerance, pauseSeconds, report }) {
  let reached = { version: 0, distance: Infinity };
  let next = 0;
  for (;;) {
    const checkout = await worker.checkout(next).catch(passing("RUN_NOT_ACTIVE"));
    if (checkout === undefined) return reached;
    if (checkout === null) continue;
    const { version, u, late } = checkout;
    reached = { version, distance: problem.distance(u) };
    report(`version ${version}: |u - u*| = ${reached.distance.toExponential(2)}`);
    if (reached.distance <= tolerance || worker.ended) return reached;
    const update = problem.update(u, late);
    if (pauseSeconds) await sleep(1000 * pauseSeconds);
    const answer = await worker.commit(version, update).catch(passing("RUN_NOT_ACTIVE"));
    if (answer === undefined) return reached;
    next = answer === null ? 0 : version + 1;
  }
}

/** Turns a refusal with that reason into `undefined`. */
function passing(reason) {
  return (error) => {
    if (error.reason !== reason) throw error;
  };
}
