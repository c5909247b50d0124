// The table of leases: searched, sorted, a page at a time.

import { number } from "./address_numbers.js";
import { byId, el, mark, reconcile, write } from "./dom.js";
import { keyOf, site } from "./state.js";
import { now, until } from "./time.js";
import { nameOf, plural, stateOf, STATES } from "./labels.js";

const PAGE = matchMedia("(max-width: 44rem)").matches ? 20 : 50;
const COLLATE = new Intl.Collator("en", { numeric: true }).compare;
const LAST = "\uffff"; // what is not known stands at the end

const text = (value) => (one, other) => COLLATE(value(one) ?? LAST, value(other) ?? LAST);
const instant = (name) => (one, other) => {
  const [first, second] = [one[name] ?? LAST, other[name] ?? LAST];
  return first < second ? -1 : Number(first > second);
};

const COLUMNS = [
  { id: "name", title: "Name", compare: text(nameOf) },
  { id: "address", title: "Address", compare: byAddress },
  { id: "state", title: "State", compare: (a, b) => rank(a) - rank(b) },
  { id: "renews", title: "Renews", compare: instant("renew_at") },
  { id: "expires", title: "Expires", compare: instant("expires_at") },
  { id: "mac", title: "MAC", compare: text((lease) => lease.mac) },
  { id: "host", title: "Host", compare: text((lease) => lease.host) },
];

function byAddress(one, other) {
  const [first, second] = [number(one.address), number(other.address)];
  return first < second ? -1 : Number(first > second);
}

const rank = (lease) => STATES.indexOf(stateOf(lease));

const view = { sort: "address", down: false, page: 0, shown: [] };

/** Build what does not change, and listen. `open` shows one lease. */
export function startLeases(open) {
  byId("lease-head").append(...COLUMNS.map(heading));
  byId("sort").append(...COLUMNS.map(({ id, title }) => el("option", { value: id }, title)));
  byId("state").append(option("", "All"), ...STATES.map((state) => option(state, state)));
  byId("sort").addEventListener("change", (event) => sortBy(event.target.value, false));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["search", "state", "pool"]) byId(id).addEventListener("input", first);
  byId("lease-rows").addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!event.target.closest("a") && String(getSelection()) === "") open(row.dataset.key);
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea, dialog");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    byId("search").focus();
  });
}

/** Show only the leases of one state, and of any pool. */
export function showState(state) {
  byId("state").value = state;
  byId("pool").value = "";
  byId("search").value = "";
  first();
  byId("leases").scrollIntoView();
}

const option = (value, title) => el("option", { value }, title);

function heading({ id, title }) {
  const button = el("button", { type: "button", onclick: () => sortBy(id) }, title);
  return el("th", { scope: "col", role: "columnheader", "data-column": id }, button);
}

function sortBy(id, down = view.sort === id && !view.down) {
  view.sort = id;
  view.down = down;
  first();
}

function first() {
  view.page = 0;
  renderLeases();
}

/** Show the leases as they are now. */
export function renderLeases() {
  fillPools();
  const found = wanted();
  const { compare } = COLUMNS.find(({ id }) => id === view.sort);
  found.sort((one, other) => (view.down ? -1 : 1) * compare(one, other) || byAddress(one, other));
  view.page = Math.min(view.page, Math.max(0, Math.ceil(found.length / PAGE) - 1));
  view.shown = found.slice(view.page * PAGE, (view.page + 1) * PAGE);
  for (const cell of byId("lease-head").children) {
    const sorted = cell.dataset.column === view.sort;
    mark(cell, "aria-sort", sorted ? (view.down ? "descending" : "ascending") : null);
  }
  byId("sort").value = view.sort;
  reconcile(byId("lease-rows"), view.shown, { key: keyOf, make: makeRow, update: updateRow });
  count(found.length);
  tickLeases();
}

function wanted() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [state, pool] = [byId("state").value, byId("pool").value];
  return [...site.leases.values()].filter((lease) => {
    if (state && stateOf(lease) !== state && lease.state !== state) return false;
    if (pool && lease.pool !== pool) return false;
    const { name, hostname, address, mac, host } = lease;
    const all = `${name ?? ""} ${hostname ?? ""} ${address} ${mac} ${host} ${stateOf(lease)}`;
    return words.every((word) => all.toLowerCase().includes(word));
  });
}

function fillPools() {
  const pools = [{ id: "", subnet: "All" }, ...site.pools];
  const make = ({ id, subnet, parent }) => option(id, parent ? `${subnet} on ${parent}` : subnet);
  reconcile(byId("pool"), pools, { key: ({ id }) => id, make });
}

function count(found) {
  const [all, start] = [site.leases.size, view.page * PAGE];
  write(byId("leases-count"), found === all ? plural(all, "lease") : `${found} of ${all}`);
  byId("lease-none").hidden = found > 0;
  write(byId("lease-none"), all ? "No lease fits." : "No container has a lease yet.");
  const pager = byId("pager");
  pager.hidden = found <= PAGE;
  if (!pager.firstChild) {
    pager.append(turn("Previous", -1), el("span"), turn("Next", 1));
  }
  const [previous, place, next] = pager.children;
  write(place, `${start + 1}–${Math.min(start + PAGE, found)} of ${found.toLocaleString("en")}`);
  previous.disabled = view.page === 0;
  next.disabled = start + PAGE >= found;
}

function turn(title, by) {
  const onclick = () => {
    view.page += by;
    renderLeases();
    byId("leases").scrollIntoView();
  };
  return el("button", { type: "button", onclick }, title);
}

function makeRow(lease) {
  const link = el("a", { href: hrefOf(lease) }, lease.address);
  const left = el("span", { class: "left", "aria-hidden": "true" }, el("i"));
  const cells = {
    name: [],
    address: [link],
    state: [el("span", { class: "state" })],
    renews: [el("time")],
    expires: [el("time"), left],
    mac: [],
    host: [],
  };
  const make = ([id, within]) => el("td", { role: "cell", class: `of-${id}` }, ...within);
  return el("tr", { role: "row" }, ...Object.entries(cells).map(make));
}

/** The address of a lease's details in this page. */
export function hrefOf(lease) {
  return `#${new URLSearchParams({ lease: lease.address, pool: lease.pool })}`;
}

function updateRow(row, lease) {
  const [name, , state, , , mac, host] = row.children;
  write(name, nameOf(lease) ?? "no name");
  name.classList.toggle("unknown", nameOf(lease) === null);
  write(state.firstChild, stateOf(lease));
  mark(state.firstChild, "data-state", stateOf(lease));
  mark(row, "data-state", stateOf(lease));
  write(mac, lease.mac);
  write(host, lease.host);
}

/** Let the timers of what is seen go on. */
export function tickLeases() {
  const rows = byId("lease-rows").children;
  view.shown.forEach((lease, index) => {
    const [, , , renews, expires] = rows[index].children;
    timer(renews.firstChild, lease.state === "lost" ? undefined : lease.renew_at);
    timer(expires.firstChild, lease.expires_at);
    expires.lastChild.firstChild.style.inlineSize = `${100 * remaining(lease)}%`;
  });
}

function timer(time, at) {
  write(time, at === undefined ? "–" : until(at));
  mark(time, "datetime", at ?? null);
}

/** The part of its time that a lease still has; 1 where it has no end. */
export function remaining(lease) {
  if (lease.expires_at === null) return 1;
  const from = Date.parse(lease.bound_at ?? lease.acquired_at);
  const to = Date.parse(lease.expires_at);
  return to > from ? Math.min(1, Math.max(0, (to - now()) / (to - from))) : 0;
}
