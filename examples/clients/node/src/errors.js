// What can go wrong: bytes that cannot be accepted, calls that were refused, calls that got lost.

/** Bytes, or the arrays in them, that cannot be accepted; `reason` is the coordinator's word for it. */
export class PayloadError extends Error {
  constructor(reason, message) {
    super(message);
    this.name = "PayloadError";
    this.reason = reason;
  }
}

/**
 * A call that ended with a gRPC status other than OK.
 *
 * `reason` is empty when the status was made by gRPC on the way and not by a coordinator. `details` holds the facts
 * with their types, `fields` the names of wrong fields, `retrySeconds` the pause that the server asks for.
 */
export class CallError extends Error {
  constructor({ code, codeName, message, reason = "", details = {}, fields = [], retrySeconds = null }) {
    super(message);
    this.name = "CallError";
    Object.assign(this, { code, codeName, reason, details, fields, retrySeconds });
  }

  /** Whether the very same request may succeed later: nobody knows what became of it, or it came at a bad moment. */
  get repeatable() {
    return this.reason ? this.codeName === "UNAVAILABLE" : LOST.has(this.codeName);
  }

  /** One line for people. */
  toString() {
    const where = this.fields.length ? ` (field ${this.fields.join(", ")})` : "";
    return `${this.reason || this.codeName}${where}: ${this.message}`;
  }
}

/** What gRPC itself says when a message or an answer got lost. */
const LOST = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED", "INTERNAL", "UNKNOWN"]);

/** Something that the person who started the program has to change. */
export class UsageError extends Error {}
