// What is behind the charts, to copy: the question, and an alert of it.

import { $, h } from "./dom.js";
import { alertRule, alertSql } from "./alert.js";
import { commandOf, curlOf, sqlOf } from "./queries.js";
import { copying } from "./record.js";
import { isNumber } from "./windows.js";

// `shown()`: {view, asked, table, figures} of the charts. Where a browser has no clipboard, there is nothing to offer.
export function offerCopies(shown) {
  const figure = h("select", { "aria-label": "Alert of" });
  const beyond = h("select", { "aria-label": "Alert when it is" },
    ["above", "below"].map((word) => h("option", { value: word }, word)));
  const bound = h("input", { type: "number", step: "any", value: "0", "aria-label": "Bound of the alert" });
  const alert = () => ({ figure: figure.value, beyond: beyond.value, bound: String(bound.valueAsNumber || 0) });
  const of = (text) => () => text(shown());
  const buttons = [
    copying("SQL", of(({ view, asked, table, figures }) => sqlOf(view, asked, table, figures))),
    copying("curl", of(({ asked }) => curlOf(asked))),
    copying("dia query", of(({ view, asked }) => commandOf(view, asked))),
  ].filter(Boolean);
  $("copy").hidden = !buttons.length;
  if (!buttons.length) return;
  $("copy").addEventListener("toggle", () => {
    const { value } = figure;
    const { view, figures } = shown();
    const numbers = view.figures.filter((one) => figures.includes(one.name) && isNumber(view, one.name));
    figure.replaceChildren(...numbers.map((one) => h("option", { value: one.name }, one.name)));
    figure.value = numbers.some((one) => one.name === value) ? value : numbers.find((one) => one.name === "mean")?.name ?? numbers[0]?.name;
  });
  $("copy").querySelector("fieldset").append(...buttons, h("p", { class: "hint" }, "An alert when"), figure, beyond, bound,
    copying("Alert as SQL", of(({ view, asked }) => alertSql(view, asked, alert()))),
    copying("Alert rule of Grafana", of(({ view, asked }) => alertRule(view, asked, alert()))));
}
