// The pools and how full they are. Choosing one shows its map.

import { byId, el, mark, reconcile, write } from "./dom.js";
import { site } from "./state.js";
import { plural, stateOf } from "./labels.js";

const PARTS = ["used", "reserved", "free"];

/** Show the pools as they are now. `choose` shows a pool's map, `chosen` is the one that is shown. */
export function renderPools(chosen, choose) {
  const counts = troubles();
  reconcile(byId("pool-list"), site.pools, {
    key: ({ id }) => id,
    make: (pool) => make(pool, choose),
    update: (card, pool) => update(card, pool, { chosen, ...counts.get(pool.id) }),
  });
  const none = byId("pool-none");
  if (site.pools.length) none?.remove();
  else if (!none) byId("pool-list").append(empty());
}

/** For each pool, how many of its leases are lost or late. */
function troubles() {
  const counts = new Map();
  for (const lease of site.leases.values()) {
    const state = stateOf(lease);
    if (state !== "lost" && state !== "late") continue;
    const count = counts.get(lease.pool) ?? { lost: 0, late: 0 };
    count[state] += 1;
    counts.set(lease.pool, count);
  }
  return counts;
}

function empty() {
  return el("div", { class: "card empty", id: "pool-none", "data-key": "none" },
    el("p", {}, "No network uses this driver yet. Make one:"),
    el("pre", {}, el("code", {}, [
      "docker network create -d macvlan --subnet=192.168.59.0/24 \\",
      "  --ipam-driver=talkingdata -o parent=enp0s8 lan",
    ].join("\n"))));
}

function make(pool, choose) {
  const button = el("button", {
    type: "button", "aria-controls": "map", onclick: () => choose(pool.id),
  }, pool.subnet);
  return el("article", { class: "card pool" },
    el("div", { class: "pool-head" }, el("h3", {}, button), el("span", { class: "percent" })),
    el("p", { class: "facts" }),
    el("div", { class: "bar", role: "img" }, ...PARTS.map((part) => el("i", { class: part }))),
    el("ul", { class: "legend" }, ...[...PARTS, "lost", "late"].map((part) =>
      el("li", { "data-part": part }, el("b", {}), ` ${part}`))));
}

function update(card, pool, { chosen, lost = 0, late = 0 }) {
  const [head, facts, bar, legend] = card.children;
  mark(head.querySelector("button"), "aria-expanded", String(pool.id === chosen));
  card.classList.toggle("chosen", pool.id === chosen);
  const taken = pool.size ? (pool.size - pool.free) / pool.size : 0;
  write(head.lastChild, percent(taken));
  mark(card, "data-fill", taken >= 0.9 ? "nearly" : null);
  write(facts, [
    pool.parent && `on ${pool.parent}`,
    pool.range && `range ${pool.range}`,
    pool.gateway && `gateway ${pool.gateway}`,
    pool.allocator && `allocator ${pool.allocator}`,
    plural(pool.networks, "network"),
  ].filter(Boolean).join(" · "));
  const counts = { used: pool.used, reserved: pool.reserved, free: pool.free, lost, late };
  PARTS.forEach((part, index) => {
    bar.children[index].style.flexGrow = String(pool.size ? counts[part] / pool.size : 0);
    bar.children[index].hidden = !counts[part];
  });
  mark(bar, "aria-label", `${PARTS.map((part) => `${counts[part]} ${part}`).join(", ")}`);
  for (const item of legend.children) {
    const count = counts[item.dataset.part];
    write(item.firstChild, count.toLocaleString("en"));
    item.hidden = !count && ["lost", "late"].includes(item.dataset.part);
  }
}

function percent(part) {
  if (part > 0 && part < 0.01) return "under 1%";
  return `${Math.floor(100 * part)}%`;
}
