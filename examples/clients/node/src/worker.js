// A careful worker: membership, leases, a chain of commits of which each is applied exactly once.

import { randomBytes } from "node:crypto";

import { CallError, PayloadError } from "./errors.js";
import { encodeIdentity } from "./payload.js";
import { Replica } from "./replica.js";

const WAIT_SECONDS = 5;

/** Refusals in the course of things: the update waits in the residual, the next checkout mends the rest. */
const RETURNING = new Set(["STALE_COMMIT", "WORKER_NOT_MEMBER", "CHAIN_BROKEN"]);

/** One process of a worker, working on one run. */
export class Worker {
  #coordinator;
  #retrier;
  #workerId;
  #instanceId = randomBytes(16).toString("hex");
  #runId;
  #parameter;
  #replica;
  #incarnation = 0;
  #heartbeatSeconds = 1;
  #heartbeats = null;
  #holding = [];
  #failure = null;
  #chain = null; // {incarnation, lastApplied, nextSeq, residualLost}
  #residual = null;
  #deadline = Infinity;
  ended = false;
  commits = { accepted: 0, duplicate: 0, returned: 0, notModified: 0, deltas: 0 };

  /**
   * @param options.parameter the run's only outer parameter, as in the run's definition but with
   *     `dtype: "float64"`.
   */
  constructor(coordinator, retrier, { workerId, runId, parameter }) {
    this.#coordinator = coordinator;
    this.#retrier = retrier;
    this.#workerId = workerId;
    this.#runId = runId;
    this.#parameter = parameter;
    this.#replica = new Replica([parameter]);
  }

  /** Registers this process, and proves from then on that it lives. */
  async join() {
    await this.#register();
    const beat = async () => {
      await this.#heartbeat();
      if (this.#heartbeats !== null) this.#heartbeats = setTimeout(beat, 1000 * this.#heartbeatSeconds);
    };
    this.#heartbeats = setTimeout(beat, 1000 * this.#heartbeatSeconds);
  }

  /** Says goodbye and returns the lease. A coordinator that does not hear it lets the lease expire. */
  async leave() {
    clearTimeout(this.#heartbeats);
    this.#heartbeats = null;
    if (this.#incarnation === 0) return;
    const process = { worker_id: this.#workerId, incarnation: this.#incarnation };
    await this.#coordinator.unary("DeregisterWorker", { ...process, reason: "done" }).catch(() => {});
  }

  /**
   * Checks a version out.
   *
   * @param minVersion waits a moment for a version of at least this number; what comes may be older.
   * @returns `{version, u, late}`: `late()` says whether the lease is over. `null`: begin anew.
   */
  async checkout(minVersion = 0) {
    if (this.#failure) throw this.#failure;
    const called = performance.now();
    let checkout;
    try {
      checkout = await this.#checkedOut(minVersion);
      this.#enter(checkout);
      const arrays = this.#replica.take(checkout);
      this.#deadline = called + 1000 * seconds(checkout.header.work_time);
      this.#holding = [{ run_id: this.#runId, base: [{ fragment: "", version: checkout.version }] }];
      const deadline = this.#deadline;
      return {
        version: checkout.version,
        u: arrays[this.#parameter.name].values,
        late: () => performance.now() >= deadline || this.ended,
      };
    } catch (error) {
      await this.#checkoutFailed(error);
      return null;
    }
  }

  /**
   * Commits the hypergradient at a version, together with what earlier refusals left behind.
   *
   * @returns the coordinator's answer, or `null` when the update went to the residual.
   */
  async commit(version, { gradient, work, outerLoss }) {
    const update = this.#residual ? gradient.map((value, i) => value + this.#residual[i]) : gradient;
    this.#residual = null;
    const { name, shape, dtype } = this.#parameter;
    const payload = encodeIdentity({ [name]: { dtype, shape, values: update } });
    const header = {
      run_id: this.#runId,
      worker_id: this.#workerId,
      incarnation: this.#chain.incarnation,
      seq: this.#chain.nextSeq,
      prev_applied: this.#chain.lastApplied,
      base: [{ fragment: "", version }],
      kind: "UPDATE_KIND_HYPERGRADIENT",
      work,
      tasks: 1,
      metrics: { outer_loss: outerLoss },
      residual_lost: this.#chain.residualLost,
    };
    this.#chain.nextSeq += 1;
    try {
      const answer = await this.#send(header, payload);
      this.#applied(header.seq);
      this.commits[answer.duplicate ? "duplicate" : "accepted"] += 1;
      return answer;
    } catch (error) {
      if (!(error instanceof CallError) || !RETURNING.has(error.reason)) throw error;
      this.#settle(header, update, error);
      return null;
    } finally {
      this.#holding = [];
    }
  }

  async #register() {
    const request = { worker_id: this.#workerId, instance_id: this.#instanceId, device: "cpu" };
    const answer = await this.#retrier.answer("register", () => this.#coordinator.unary("RegisterWorker", request));
    this.#incarnation = answer.incarnation;
    this.#heartbeatSeconds = seconds(answer.heartbeat_interval) || 1;
    this.#coordinator.maxPayloadBytes = answer.max_payload_bytes;
  }

  async #heartbeat() {
    const request = { worker_id: this.#workerId, incarnation: this.#incarnation, holding: this.#holding };
    try {
      const { ended_runs: ended } = await this.#coordinator.unary("Heartbeat", request);
      this.ended ||= ended.includes(this.#runId);
    } catch (error) {
      if (error.reason === "INCARNATION_SUPERSEDED") this.#failure = error;
      else if (error.reason === "WORKER_UNKNOWN") await this.#register().catch((failed) => (this.#failure = failed));
      // Anything else: the next heartbeat tells.
    }
  }

  async #checkedOut(minVersion) {
    const request = {
      run_id: this.#runId,
      worker_id: this.#workerId,
      incarnation: this.#incarnation,
      known: this.#replica.version === null ? [] : [{ fragment: "", version: this.#replica.version }],
    };
    const call = (more, wait) => () => this.#coordinator.checkout({ ...request, ...more }, wait);
    if (minVersion) {
      try {
        const wait = call({ min_version: minVersion }, WAIT_SECONDS);
        return await this.#retrier.answer("checkout", wait, { passing: ["WAIT_EXPIRED"] });
      } catch (error) {
        if (error.reason !== "WAIT_EXPIRED") throw error;
        // Nothing newer: working again at an unchanged version is allowed.
      }
    }
    return this.#retrier.answer("checkout", call({}, 0));
  }

  /** Takes up the commit chain where the coordinator says it stands. */
  #enter({ header, notModified, parts }) {
    this.commits.notModified += notModified ? 1 : 0;
    this.commits.deltas += parts.filter(({ kind }) => kind === "PART_KIND_DELTA").length;
    if (this.#chain?.incarnation === this.#incarnation) {
      this.#chain.lastApplied = Math.max(this.#chain.lastApplied, header.last_applied);
      this.#chain.nextSeq = Math.max(this.#chain.nextSeq, header.last_applied + 1);
      return;
    }
    this.#chain = {
      incarnation: this.#incarnation,
      lastApplied: header.last_applied,
      nextSeq: header.last_applied + 1,
      // An earlier process of this worker may have owed something. It kept nothing, so that this is lost.
      residualLost: header.last_applied > 0 && header.applied_by !== this.#incarnation,
    };
  }

  async #checkoutFailed(error) {
    this.#replica.forget();
    if (error.reason === "WORKER_UNKNOWN") await this.#register();
    else if (error.reason !== "UNKNOWN_VERSION" && !(error instanceof PayloadError)) throw error;
    else this.#retrier.report(`checkout anew: ${error.reason}: ${error.message}`);
  }

  /** Sends a commit until it is answered: whatever is sent again is the same in every byte. */
  async #send(header, payload) {
    for (;;) {
      try {
        return await this.#retrier.answer("commit", () => this.#coordinator.commit(header, payload));
      } catch (error) {
        if (error.reason !== "WORKER_UNKNOWN") throw error;
        await this.#register();
        if (this.#incarnation !== header.incarnation) throw error;
      }
    }
  }

  #applied(seq) {
    Object.assign(this.#chain, { lastApplied: seq, residualLost: false });
  }

  /** What a refusal decides about a commit: applied after all, or back to the residual, or in part. */
  #settle(header, update, error) {
    const lastApplied = error.details.last_applied;
    if (error.reason === "CHAIN_BROKEN") {
      if (lastApplied === header.seq) return this.#applied(header.seq);
      this.#chain.lastApplied = lastApplied;
      this.#chain.nextSeq = Math.max(this.#chain.nextSeq, lastApplied + 1);
    }
    const keep = error.reason === "STALE_COMMIT" ? (error.details.weight ?? 1) : 1;
    this.#residual = update.map((value) => keep * value);
    this.commits.returned += 1;
    return this.#retrier.report(`commit ${header.seq} returned: ${error}`);
  }
}

const seconds = (duration) => (duration ? duration.seconds + duration.nanos / 1e9 : 0);
