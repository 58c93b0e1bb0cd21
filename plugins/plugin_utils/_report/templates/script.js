"use strict";
// The page says everything without this: here tables get a filter, an order and pages.
(() => {
  const PAGE = 100, FEW = 12;
  const make = (name, text, attributes) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    return made;
  };
  const number = (value) => value.toLocaleString("en");

  class Table {
    constructor(box) {
      this.body = box.querySelector("tbody");
      this.rows = [...this.body.rows];
      this.shown = this.rows;
      this.first = 0;
      this.print = false;
      if (this.rows.length > 1) this.addOrder(box);
      if (this.rows.length > FEW) this.addTools(box);
    }

    addOrder(box) {
      [...box.querySelectorAll("thead th")].forEach((head, column) => {
        const button = make("button", head.textContent, { type: "button" });
        head.replaceChildren(button);
        button.addEventListener("click", () => this.order(head, column));
      });
    }

    order(head, column) {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
      };
      const compare = new Intl.Collator("en", { numeric: true }).compare;
      const keyed = this.rows.map((row) => [value(row), row]);
      keyed.sort(([a], [b]) => (typeof a === "number" && typeof b === "number" ? a - b : compare(String(a), String(b))));
      if (down) keyed.reverse();
      this.rows = keyed.map(([, row]) => row);
      this.body.append(...this.rows);
      this.filter();
    }

    addTools(box) {
      const tools = make("div", "", { class: "tools" });
      const label = make("label", "Filter ");
      this.input = make("input", "", { type: "search", autocomplete: "off" });
      label.append(this.input);
      this.count = make("span", "", { role: "status" });
      this.back = make("button", "Back", { type: "button" });
      this.next = make("button", "Next", { type: "button" });
      tools.append(label, this.count, this.back, this.next);
      box.before(tools);
      let waiting = 0;
      this.input.addEventListener("input", () => {
        clearTimeout(waiting);
        waiting = setTimeout(() => this.filter(), 80);
      });
      this.back.addEventListener("click", () => this.turn(-PAGE));
      this.next.addEventListener("click", () => this.turn(PAGE));
      this.filter();
    }

    filter() {
      const words = this.input ? this.input.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
      this.shown = words.length
        ? this.rows.filter((row) => {
            row.text = row.text || row.textContent.toLowerCase();
            return words.every((word) => row.text.includes(word));
          })
        : this.rows;
      this.first = 0;
      this.draw();
    }

    turn(by) {
      this.first = Math.max(0, Math.min(this.first + by, this.shown.length - 1));
      this.draw();
    }

    draw() {
      if (!this.input) return;
      const page = new Set(this.shown.slice(this.first, this.first + PAGE));
      for (const row of this.rows) row.hidden = !page.has(row);
      const last = Math.min(this.first + PAGE, this.shown.length);
      const of = this.shown.length === this.rows.length ? number(this.rows.length) : `${number(this.shown.length)} (of ${number(this.rows.length)})`;
      this.count.textContent = this.shown.length ? `${number(this.first + 1)} to ${number(last)} of ${of}` : "None";
      const single = this.shown.length <= PAGE;
      this.back.hidden = this.next.hidden = single;
      this.back.disabled = this.first === 0;
      this.next.disabled = last >= this.shown.length;
    }
  }

  for (const box of document.querySelectorAll(".table")) {
    // A table in a closed part is made ready when that is opened.
    const part = box.closest("details:not([open])");
    if (part) part.addEventListener("toggle", () => new Table(box), { once: true });
    else new Table(box);
  }

  for (const block of document.querySelectorAll("#ticket pre, .problem pre")) {
    const button = make("button", "Copy", { type: "button", class: "copy" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
      } catch (error) {
        getSelection().selectAllChildren(block);
        button.textContent = "Selected: copy it with the keyboard";
      }
    });
    const line = make("div", "", { class: "command" });
    block.replaceWith(line);
    line.append(block, button);
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    // Not the long ones, which nobody wants on paper.
    opened = [...document.querySelectorAll("details:not([open])")].filter((part) => part.querySelectorAll("tr, text").length < 300);
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
  // A link into a closed part opens it.
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const part = target && target.closest("details");
    if (part) part.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
