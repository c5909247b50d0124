// The map of one pool: a cell for each address of a block, and for larger pools a cell for each
// block first. Only blocks that hold something are shown of pools with too many of them.

import { blockOf, BLOCK_SIZE, firstOf, Network, number, print, printBlock } from "./address_numbers.js";
import { byId, el, mark, reconcile, write } from "./dom.js";
import { grid } from "./grid.js";
import { site } from "./state.js";
import { until } from "./time.js";
import { nameOf, plural, stateOf } from "./labels.js";

const MOST_BLOCKS = 256n;
const PURPOSES = { gateway: "gateway", auxiliary: "auxiliary address" };
const LEGEND = ["bound", "doubtful", "late", "lost", "released", "reserved", "free"];

export const shown = { pool: null, block: null };

/** Show a pool's map, or none where it is shown already. */
export function toggleMap(id) {
  shown.pool = shown.pool === id ? null : id;
  shown.block = null;
}

/** Show the map as it is now. `open` shows a lease, `again` renders after a choice was made. */
export function renderMap(open, again) {
  const card = byId("map");
  const pool = site.pools.find(({ id }) => id === shown.pool);
  card.hidden = pool === undefined;
  if (pool === undefined) return;
  const network = new Network(pool.subnet);
  const contents = contentsOf(pool);
  if (network.blocks === 1n) shown.block = blockOf(network.first);
  const zoom = (block) => {
    shown.block = block;
    again();
    card.querySelector("[tabindex='0']")?.focus();
  };
  const kind = `${pool.id} ${shown.block ?? "blocks"}`;
  if (card.dataset.kind !== kind) {
    card.dataset.kind = kind;
    card.replaceChildren(...frame(network, zoom));
  }
  if (shown.block === null) renderBlocks(card, network, contents, zoom);
  else renderAddresses(card, pool, network, contents, open);
}

/** What each address of a pool holds: its lease, or its reservation's purpose. */
function contentsOf(pool) {
  const contents = new Map();
  const reserve = (address, why) => contents.set(number(address), { why });
  if (pool.gateway) reserve(pool.gateway, PURPOSES.gateway);
  for (const { address, purpose } of pool.reservations) {
    reserve(address, PURPOSES[purpose] ?? purpose);
  }
  for (const { address, pool: id, name, mac, note } of site.reservations ?? []) {
    if (id === pool.id) reserve(address, [note, name ?? mac].filter(Boolean).join(", ") || "kept");
  }
  for (const lease of site.leases.values()) {
    if (lease.pool === pool.id) contents.set(number(lease.address), { lease });
  }
  return contents;
}

function frame(network, zoom) {
  const zoomed = shown.block !== null && network.blocks > 1n;
  const title = shown.block === null ? network.text : printBlock(shown.block, network.version);
  const back = el("button", { type: "button", class: "quiet", onclick: () => zoom(null) },
    `All of ${network.text}`);
  return [
    el("div", { class: "heading" },
      el("h3", { id: "map-title" }, network.blocks === 1n ? network.text : title),
      zoomed ? back : el("span", { class: "count" })),
    el("div", { class: "cells", role: "grid", "aria-labelledby": "map-title" }),
    el("p", { class: "readout" }),
    el("ul", { class: "legend keys", "aria-label": "Key" }),
  ];
}

// A block of addresses

function renderAddresses(card, pool, network, contents, open) {
  const start = network.blocks === 1n ? network.first : firstOf(shown.block);
  const size = Number(network.blocks === 1n ? network.last - start + 1n : BLOCK_SIZE);
  const range = pool.range ? new Network(pool.range) : network;
  const used = new Map();
  const items = Array.from({ length: size }, (_, index) => {
    const value = start + BigInt(index);
    const item = cellOf(value, { network, range, ...contents.get(value) });
    used.set(item.state, (used.get(item.state) ?? 0) + 1);
    return item;
  });
  const [, cells, readout, legend] = card.children;
  grid(cells, items, { readout, choose: ({ lease }) => lease && open(lease) });
  keys(legend, used);
}

function cellOf(value, { network, range, lease, why }) {
  const address = print(value, network.version);
  const label = network.version === 4
    ? String(value & 255n)
    : (value & 255n).toString(16).padStart(2, "0");
  const item = { key: address, label, lease };
  if (lease) {
    const name = nameOf(lease) ?? lease.mac;
    const end = lease.expires_at ? `, expires ${until(lease.expires_at)}` : "";
    return { ...item, state: stateOf(lease), says: `${address}: ${name}, ${stateOf(lease)}${end}` };
  }
  if (why) return { ...item, state: "reserved", says: `${address}: reserved, ${why}` };
  if (network.isEdge(value)) return { ...item, state: "edge", says: `${address}: no host's` };
  if (!range.has(value)) return { ...item, state: "outside", says: `${address}: out of range` };
  return { ...item, state: "free", says: `${address}: free` };
}

function keys(legend, used) {
  const states = [...used.keys()].filter((state) => state !== "edge");
  const order = (state) => (LEGEND.includes(state) ? LEGEND.indexOf(state) : LEGEND.length);
  states.sort((one, other) => order(one) - order(other));
  reconcile(legend, states, {
    key: (state) => state,
    make: (state) => el("li", { "data-part": state },
      el("b", {}), ` ${state === "outside" ? "out of range" : state}`),
    update: (item, state) => write(item.firstChild, used.get(state)?.toLocaleString("en") ?? "0"),
  });
}

// Blocks of a larger pool

function renderBlocks(card, network, contents, zoom) {
  const held = new Map();
  for (const [value, { lease }] of contents) {
    const block = held.get(blockOf(value)) ?? { leases: 0, lost: 0, late: 0, reserved: 0 };
    if (!lease) block.reserved += 1;
    else {
      block.leases += 1;
      if (stateOf(lease) === "lost") block.lost += 1;
      if (stateOf(lease) === "late") block.late += 1;
    }
    held.set(blockOf(value), block);
  }
  const all = network.blocks <= MOST_BLOCKS;
  const blocks = all
    ? Array.from({ length: Number(network.blocks) }, (_, i) => blockOf(network.first) + BigInt(i))
    : [...held.keys()].sort((one, other) => (one < other ? -1 : Number(one > other)));
  const [head, cells, readout, legend] = card.children;
  cells.classList.toggle("sparse", !all);
  write(head.lastChild, all
    ? plural(blocks.length, "block of 256", "blocks of 256")
    : `${plural(blocks.length, "block")} in use`);
  const items = blocks.map((block) => blockCell(block, network, all, held.get(block)));
  grid(cells, items, { readout, choose: ({ block }) => zoom(block) });
  for (const [index, item] of items.entries()) {
    const cell = cells.querySelectorAll("[role=gridcell]")[index];
    cell.style.setProperty("--fill", String(item.fill));
  }
  mark(legend, "hidden", "");
}

function blockCell(block, network, all, { leases = 0, lost = 0, late = 0, reserved = 0 } = {}) {
  const text = printBlock(block, network.version);
  const parts = [
    plural(leases, "lease"),
    reserved && `${reserved} reserved`,
    lost && `${lost} lost`,
    late && `${late} late`,
  ];
  const share = leases / Number(BLOCK_SIZE);
  const state = lost ? "lost" : late ? "late" : leases ? "some" : "none";
  return {
    key: text,
    block,
    label: all ? String(block & 255n) : text,
    state: `block ${state}`,
    fill: leases ? Math.max(0.12, share) : 0,
    says: `${text}: ${parts.filter(Boolean).join(", ")}`,
  };
}
