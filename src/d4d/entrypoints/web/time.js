// Instants and durations in words, by the driver's clock.

let ahead = 0; // milliseconds by which the driver's clock is ahead of the browser's

/** Learn of the driver's clock from an answer of it. Its header knows whole seconds only. */
export function setClock(date) {
  const at = Date.parse(date);
  if (Number.isNaN(at)) return;
  const difference = at + 500 - Date.now();
  ahead = Math.abs(difference) > 2000 ? difference : 0;
}

export const now = () => Date.now() + ahead;

const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];

/** A duration in its two largest units, such as "4m 12s". */
export function duration(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, size] of UNITS) {
    if (left < size && !(unit === "s" && parts.length === 0)) {
      if (parts.length) break;
      continue;
    }
    parts.push(`${Math.floor(left / size)}${unit}`);
    left %= size;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** How long it is until an instant; null is never. */
export function until(instant) {
  if (instant === null) return "never";
  const seconds = (Date.parse(instant) - now()) / 1000;
  return seconds >= 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const DAY = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" });

/** The time of day, with the date where it is not today's. */
export function clock(instant) {
  const at = new Date(instant);
  const day = DAY.format(at);
  const time = CLOCK.format(at);
  return day === DAY.format(new Date(now())) ? time : `${day} ${time}`;
}
