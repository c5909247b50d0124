// Elements of the page. Texts become text nodes: names of containers are strangers' words, and
// nothing here parses them as HTML.

export const byId = (id) => document.getElementById(id);

/** An element with attributes, and with elements or texts within. False attributes are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((each) => each !== null && each !== undefined));
  return element;
}

/** Write a text where it is another: untouched nodes keep selection and cost no layout. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set an attribute where it is another; null takes it away. */
export function mark(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Make the children of `parent` those of `items`, in their order. An item that was there keeps its
 * element, and the focus in it.
 */
export function reconcile(parent, items, { key, make, update }) {
  const old = new Map([...parent.children].map((each) => [each.dataset.key, each]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const itemKey = String(key(item));
    let element = old.get(itemKey);
    if (element === undefined) {
      element = make(item);
      element.dataset.key = itemKey;
    }
    old.delete(itemKey);
    update?.(element, item);
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
  for (const element of old.values()) element.remove();
}
