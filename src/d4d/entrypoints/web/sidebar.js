// What stands beside pools and leases: the summary, health, hosts, reservations.

import { byId, el, mark, reconcile, write } from "./dom.js";
import { isLive, site } from "./state.js";
import { until } from "./time.js";
import { plural, stateOf } from "./labels.js";

/** Show all of it as it is now. `show` filters the leases by a state. */
export function renderSidebar(show) {
  renderSummary(show);
  renderHealth();
  renderHosts();
  renderReservations();
}

function renderSummary(show) {
  const counts = { held: 0, lost: 0, late: 0 };
  for (const lease of site.leases.values()) {
    if (isLive(lease)) counts.held += 1;
    const state = stateOf(lease);
    if (state === "lost" || state === "late") counts[state] += 1;
  }
  const free = site.pools.reduce((sum, pool) => sum + pool.free, 0);
  const tiles = [
    { id: "held", title: "leases held", count: counts.held, state: "" },
    { id: "lost", title: "lost", count: counts.lost, state: "lost" },
    { id: "late", title: "renewals late", count: counts.late, state: "late" },
    { id: "free", title: "addresses free", count: free },
  ];
  reconcile(byId("summary"), tiles, {
    key: ({ id }) => id,
    make: ({ title, state }) => {
      const within = [el("b"), el("span", {}, title)];
      return el("li", {}, state === undefined
        ? el("div", {}, ...within)
        : el("button", { type: "button", onclick: () => show(state) }, ...within));
    },
    update: (tile, { count, state }) => {
      write(tile.firstChild.firstChild, count.toLocaleString("en"));
      mark(tile, "data-state", state && count ? state : null);
    },
  });
}

function renderHealth() {
  const { ok, checks, version } = site.health;
  const list = byId("health-list");
  if (!list.firstChild) list.append(el("p"), el("ul", { class: "checks" }), el("p"));
  const [verdict, items, last] = list.children;
  write(verdict, ok ? "Ready: all is as it must be." : "Not ready.");
  mark(verdict, "class", "verdict");
  mark(verdict, "data-ok", String(ok));
  reconcile(items, checks, {
    key: ({ name }) => name,
    make: ({ name }) => el("li", {}, el("b", {}, name), " ", el("span"), el("p")),
    update: (item, check) => {
      mark(item, "data-ok", String(check.ok));
      write(item.children[1], check.ok ? "ok" : "not ok");
      write(item.children[2], check.ok ? "" : check.detail);
    },
  });
  write(last, `D4D ${version}`);
  mark(last, "class", "facts");
}

function renderHosts() {
  byId("hosts").hidden = !site.hosts?.length;
  const own = site.hosts?.find(({ is_self: self }) => self);
  if (own) {
    write(byId("host"), own.host);
    document.title = `D4D on ${own.host}`;
  }
  reconcile(byId("host-list"), site.hosts ?? [], {
    key: ({ host }) => host,
    make: ({ host }) => el("li", {}, el("b", {}, host), " ", el("span", { class: "beat" }), el("p")),
    update: (item, host) => {
      mark(item, "data-ok", String(host.is_alive));
      write(item.children[1], host.state);
      const seen = host.is_self ? "this host" : host.seen_at && `seen ${until(host.seen_at)}`;
      write(item.children[2],
        [plural(host.leases, "lease"), seen ?? "never seen"].join(" · "));
    },
  });
}

/** Let the ages of heartbeats go on. */
export const tickSidebar = renderHosts;

function renderReservations() {
  const ofPools = site.pools.flatMap((pool) => [
    ...(pool.gateway ? [{ address: pool.gateway, pool: pool.id, why: "gateway" }] : []),
    ...pool.reservations.map(({ address, purpose }) => ({
      address, pool: pool.id, why: purpose,
    })),
  ]);
  const ofOperators = (site.reservations ?? []).map(({ address, pool, name, mac, note }) => ({
    address, pool, why: [note, name ?? mac].filter(Boolean).join(" · ") || "reserved",
  }));
  const all = new Map([...ofPools, ...ofOperators].map((each) => [`${each.address} ${each.pool}`, each]));
  byId("reservations").hidden = all.size === 0;
  reconcile(byId("reservation-list"), [...all.values()], {
    key: ({ address, pool }) => `${address} ${pool}`,
    make: ({ address }) => el("li", {}, el("b", {}, address), " ", el("span")),
    update: (item, { why }) => write(item.children[1], why),
  });
}
