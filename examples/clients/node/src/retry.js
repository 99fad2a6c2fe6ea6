// Asking again: the very same request, after the pause that the server asks for or one that grows.

import { setTimeout as sleep } from "node:timers/promises";

import { CallError } from "./errors.js";

const FIRST_SECONDS = 0.1;
const LONGEST_SECONDS = 2;

/** Repeats calls until there is a definitive answer, or nothing was heard for too long. */
export class Retrier {
  #heard = null;
  #now;

  /**
   * @param options.patienceSeconds how long the coordinator may stay away in the middle of a run.
   * @param options.connectSeconds how long it may be away at first: then the address is probably wrong.
   * @param options.report called with a line for people.
   */
  constructor({ patienceSeconds = 60, connectSeconds = 5, report = () => {}, now = () => performance.now() / 1000 }) {
    Object.assign(this, { patienceSeconds, connectSeconds, report });
    this.#now = now;
  }

  /**
   * The answer of `call`.
   *
   * @param what the call, for people.
   * @param passing reasons that the caller wants to see although a repetition might help.
   * @throws CallError a definitive refusal, or the last failure when patience is at its end.
   */
  async answer(what, call, { passing = [] } = {}) {
    const began = this.#now();
    for (let pause = FIRST_SECONDS; ; pause = Math.min(2 * pause, LONGEST_SECONDS)) {
      try {
        const answer = await call();
        this.#heard = this.#now();
        return answer;
      } catch (error) {
        if (!(error instanceof CallError)) throw error;
        if (error.reason) this.#heard = this.#now();
        if (!error.repeatable || passing.includes(error.reason)) throw error;
        const limit = this.#heard === null ? this.connectSeconds : this.patienceSeconds;
        if (this.#now() - Math.max(began, this.#heard ?? began) > limit) throw error;
        this.report(`${what} again: ${error}`);
        // The server's pause is the least; jitter keeps clients that lost the same server from coming back at once.
        const seconds = error.retrySeconds ?? pause / 2;
        await sleep(1000 * seconds * (1 + Math.random()));
      }
    }
  }
}
