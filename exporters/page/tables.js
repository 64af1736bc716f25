"use strict";
/* Tables that are sorted by any column, keep the focus while they are drawn anew, and become cards on a narrow screen:
   there each value bears its column's name, and nothing needs to be scrolled sideways. */

class Table {
  /* columns: [{title, cell: row => content, value: row => to sort by, kind: class of the cell, help}];
     the first is the row's head. sort: the column that it is sorted by to begin with, or null for
     the order of the rows. last: row => whether it stays below the others, however they are sorted. */
  constructor(table, columns, { sort = null, down = true, last = () => false, kind = () => "" } = {}) {
    Object.assign(this, { table, columns, sort, down, last, kind, rows: [] });
    table.className = "cards";
    table.setAttribute("role", "table");
    this.heads = columns.map((column, i) => {
      const button = make("button", { type: "button" }, column.title);
      if (column.help) button.title = column.help;
      button.addEventListener("click", () => {
        this.down = this.sort === i ? !this.down : column.kind === "n";
        this.sort = i;
        this.show(this.rows);
      });
      return make("th", { scope: "col", role: "columnheader", class: column.kind || "" }, column.value ? button : column.title);
    });
    table.replaceChildren(make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...this.heads)), make("tbody", { role: "rowgroup" }));
  }

  show(rows) {
    this.rows = rows;
    const column = this.sort === null ? null : this.columns[this.sort];
    this.heads.forEach((head, i) => {
      if (i === this.sort) head.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const focused = document.activeElement?.dataset?.place;
    const ordered = column ? [...rows].sort((a, b) => this.last(a) - this.last(b) || this.compare(column.value(a), column.value(b))) : rows;
    const body = this.table.tBodies[0];
    body.replaceChildren(...ordered.map(row => make("tr", { role: "row", class: this.kind(row) }, ...this.columns.map((one, i) => {
      const content = one.cell(row), head = i === 0;
      return make(head ? "th" : "td", { role: head ? "rowheader" : "cell", "data-label": one.title, class: one.kind || "", ...(head ? { scope: "row" } : {}) }, content);
    }))));
    if (focused) [...body.querySelectorAll("[data-place]")].find(element => element.dataset.place === focused)?.focus();
  }

  /* What is unknown comes last, whichever way it is sorted. */
  compare(a, b) {
    const known = value => value !== null && value !== undefined && value !== "" && !Number.isNaN(value);
    if (!known(a) || !known(b)) return known(b) - known(a);
    const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
    return this.down ? -order : order;
  }
}

/* A link that keeps the focus when its table is drawn anew. */
function placed(href, text, place, title = "") {
  const link = make("a", { href, ...(title ? { title } : {}) }, text);
  link.dataset.place = place;
  return link;
}
