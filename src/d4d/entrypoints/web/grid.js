// A grid of cells with one stop for the Tab key: arrows move within, Enter chooses.

import { el, mark, reconcile, write } from "./dom.js";

const ROW = 16;

/**
 * Show `items` as cells in rows. Each has a key, a label, a state, and says what it is; `readout`
 * repeats that for the cell at hand, and `choose` hears of a cell that is clicked.
 */
export function grid(element, items, { readout, choose }) {
  const rows = [];
  for (let start = 0; start < items.length; start += ROW) rows.push(items.slice(start, start + ROW));
  reconcile(element, rows, {
    key: (row) => row[0].key,
    make: () => el("div", { role: "row" }),
    update: (row, within) => reconcile(row, within, { key: ({ key }) => key, make, update }),
  });
  const cells = [...element.querySelectorAll("[role=gridcell]")];
  if (cells.length && !cells.some((cell) => cell.tabIndex === 0)) cells[0].tabIndex = 0;
  element.choose = (index) => choose(items[index]);
  element.tell = (text) => write(readout, text);
  if (!element.dataset.listens) listen(element);
  tellOfHand(element);
}

function make({ label }) {
  return el("div", { role: "gridcell", tabindex: "-1" }, label);
}

function update(cell, { state, says, label }) {
  write(cell, label);
  mark(cell, "data-state", state);
  mark(cell, "aria-label", says);
}

function tellOfHand(element) {
  const cell = element.querySelector("[role=gridcell]:hover")
    ?? element.querySelector("[role=gridcell]:focus");
  element.tell(cell?.getAttribute("aria-label") ?? "\u00a0");
}

function listen(element) {
  element.dataset.listens = "yes";
  const cellOf = (event) => event.target.closest("[role=gridcell]");
  const all = () => [...element.querySelectorAll("[role=gridcell]")];
  const choose = (cell) => element.choose(all().indexOf(cell));
  element.addEventListener("pointerover", () => tellOfHand(element));
  element.addEventListener("pointerleave", () => tellOfHand(element));
  element.addEventListener("focusout", () => tellOfHand(element));
  element.addEventListener("focusin", (event) => {
    const cell = cellOf(event);
    for (const each of all()) each.tabIndex = each === cell ? 0 : -1;
    element.tell(cell.getAttribute("aria-label"));
  });
  element.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (cell) {
      cell.focus();
      choose(cell);
    }
  });
  element.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    const cells = all();
    const at = cells.indexOf(cell);
    const across = getComputedStyle(element).getPropertyValue("--across") || ROW;
    const moves = {
      ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + Number(across),
      ArrowUp: at - Number(across), Home: 0, End: cells.length - 1,
    };
    if (event.key === "Enter" || event.key === " ") choose(cell);
    else if (event.key in moves) cells[moves[event.key]]?.focus();
    else return;
    event.preventDefault();
  });
}
