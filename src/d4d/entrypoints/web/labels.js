// The driver's words for what is shown, and what they mean to an eye.

/** States of a lease as the API calls them, the ones that need somebody first. */
export const STATES = ["lost", "late", "doubtful", "bound", "released"];

/** The state to show: a lease whose renewal is late is late, whatever it does about it. */
export const stateOf = (lease) =>
  lease.overdue && lease.state !== "lost" ? "late" : lease.state;

/** The events of which a listener is told, as somebody may have to act. */
export const ALARMING = new Set(["lost", "conflict", "declined", "mismatch", "late", "acted"]);

export const nameOf = (lease) => lease.name ?? lease.hostname;

export const plural = (count, one, many = `${one}s`) =>
  `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
