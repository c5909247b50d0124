// What is known of the site: asked for as a whole now and then, and in part after each event.

import { get, getAll } from "./api.js";

const WHOLE = 30000; // ms between looks at everything
const GATHER = 250; // ms in which events are gathered before their leases are asked for
const NAMED = 3000; // ms after which a container's name is known
const MOST_AT_ONCE = 50; // leases asked for by address; more are asked for as a whole

export const site = {
  pools: [],
  leases: new Map(), // by key
  hosts: null, // null where this driver does not tell
  reservations: null,
  health: null,
};

export const keyOf = (lease) => `${lease.address} ${lease.pool}`;

/** Held or in use, as opposed to one that is on its way back to the server. */
export const isLive = (lease) => !["released", "freed"].includes(lease.state);

export class Updates {
  constructor({ onchange, onerror }) {
    this.onchange = onchange;
    this.onerror = onerror;
    this.waiting = new Map(); // addresses that something happened to, and on which host
    this.timer = null;
    this.running = null;
  }

  /** Ask for everything, again and again while the page is seen. */
  start() {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.whole();
    });
    setInterval(() => {
      if (!document.hidden) this.whole();
    }, WHOLE);
  }

  /** Ask for everything. */
  whole() {
    this.running ??= this.#guarded(whole).finally(() => {
      this.running = null;
    });
    return this.running;
  }

  /** Something happened to a lease. */
  after(event) {
    // An engine before Docker 29 tells the name only after the container has started.
    if (event.kind === "acquired" && event.name === null) {
      setTimeout(() => this.#ask(event), NAMED);
    }
    this.#ask(event);
  }

  #ask(event) {
    this.waiting.set(event.address, event.host);
    this.timer ??= setTimeout(() => this.#part(), GATHER);
  }

  async #part() {
    const changed = this.waiting;
    this.waiting = new Map();
    await this.running;
    await (changed.size > MOST_AT_ONCE ? this.whole() : this.#guarded(() => part(changed)));
    this.timer = this.waiting.size ? setTimeout(() => this.#part(), 4 * GATHER) : null;
  }

  async #guarded(work) {
    try {
      await work();
    } catch (error) {
      this.onerror(error);
      return;
    }
    this.onchange();
  }
}

let answers = null; // the driver's schema: what it can be asked

async function whole() {
  answers ??= await get("api/schema");
  const [pools, leases, hosts, reservations, health] = await Promise.all([
    get("api/pools"),
    shared(() => getAll("api/leases?all=true", "leases"), () => getAll("api/leases", "leases")),
    "HostsAnswer" in answers ? shared(() => get("api/hosts"), () => null) : null,
    "ReservationsAnswer" in answers ? getAll("api/reservations", "reservations") : null,
    get("readyz", { anyStatus: true }),
  ]);
  site.leases = new Map(leases.leases.map((lease) => [keyOf(lease), lease]));
  site.hosts = hosts?.hosts ?? null;
  site.reservations = reservations?.reservations ?? null;
  site.pools = pools.pools;
  site.health = health;
}

/** What the store is asked for; while it is away, what this driver knows by itself. */
async function shared(request, otherwise) {
  try {
    return await request();
  } catch (error) {
    if (error.status !== 503) throw error;
    return otherwise();
  }
}

/** The leases of some addresses, which have changed on the driver's own host, and the pools. */
async function part(changed) {
  const query = new URLSearchParams([...changed.keys()].map((address) => ["address", address]));
  const [pools, leases] = await Promise.all([
    get("api/pools"),
    getAll(`api/leases?${query}`, "leases"),
  ]);
  for (const [key, lease] of site.leases) {
    if (changed.get(lease.address) === lease.host) site.leases.delete(key);
  }
  for (const lease of leases.leases) site.leases.set(keyOf(lease), lease);
  site.pools = pools.pools;
}
