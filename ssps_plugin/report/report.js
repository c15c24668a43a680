// Draws the charts in the page's colours, light or dark.
"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // Fingers scroll the page over a chart; a mouse zooms into it.
  const isTouch = !matchMedia("(hover: hover) and (pointer: fine)").matches;
  const chosen = {}; // by figure: what its points are coloured by

  const cssValue = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // "$3" is the fourth colour, "$3/0.25" the same with an opacity.
  function colorOf(value) {
    const [number, opacity] = value.slice(1).split("/");
    const color = cssValue(`--c${number}`);
    if (!opacity) return color;
    const parts = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
    return `rgba(${parts.join(", ")}, ${opacity})`;
  }

  function resolveColors(node, key) {
    if (Array.isArray(node)) return node.map((item) => resolveColors(item, key));
    if (node && typeof node === "object") {
      const entries = Object.entries(node);
      return Object.fromEntries(entries.map(([k, v]) => [k, resolveColors(v, k)]));
    }
    const isColor = typeof node === "string" && /color$/i.test(key || "");
    return isColor && /^\$\d+/.test(node) ? colorOf(node) : node;
  }

  function axisStyle(axis) {
    return {
      gridcolor: cssValue("--line"), linecolor: cssValue("--line"),
      zeroline: false, automargin: true, ticks: "", nticks: 7, ...axis,
      title: { ...(axis.title || {}), standoff: 8 },
    };
  }

  function layoutOf(layout) {
    return {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: cssValue("--text") },
      hoverlabel: { bgcolor: cssValue("--surface"), bordercolor: cssValue("--line"), font: { color: cssValue("--text") }, namelength: -1 },
      margin: { l: 44, r: 12, t: layout.annotations.length ? 26 : 10, b: 40 },
      legend: { orientation: "h", x: 0, xanchor: "left", yref: "container", y: 0, yanchor: "bottom", font: { size: 12 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: cssValue("--muted"), activecolor: cssValue("--accent") },
      xaxis: axisStyle(layout.xaxis), yaxis: axisStyle(layout.yaxis),
      dragmode: isTouch ? false : "zoom",
      hovermode: "closest",
    };
  }

  function draw(element) {
    const chart = charts[element.dataset.chart];
    const figure = element.closest(".charts").id;
    const key = chosen[figure];
    const traces = chart.data.map((trace, number) => {
      const colors = key && chart.switches[number] && chart.switches[number][key];
      if (!colors) return trace;
      return { ...trace, marker: { ...trace.marker, color: colors.map((c) => `$${c}`) } };
    });
    const layout = layoutOf(resolveColors(chart.layout));
    // One colour an utterance: a legend of speakers would mislead.
    if (key && key !== "speaker") layout.showlegend = false;
    return Plotly.react(element, resolveColors(traces), layout, {
      responsive: true, displaylogo: false, displayModeBar: isTouch ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
  }

  const elements = [...document.querySelectorAll("[data-chart]")];
  const drawAll = () => Promise.all(elements.map(draw));

  for (const group of document.querySelectorAll(".switch")) {
    group.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      for (const one of group.querySelectorAll("button")) {
        one.setAttribute("aria-pressed", String(one === button));
      }
      chosen[group.dataset.for] = button.dataset.colors;
      const figure = document.getElementById(group.dataset.for);
      figure.querySelectorAll("[data-chart]").forEach(draw);
    });
  }
  // One clip at a time.
  document.addEventListener("play", (event) => {
    for (const audio of document.querySelectorAll("audio")) {
      if (audio !== event.target) audio.pause();
    }
  }, true);
  dark.addEventListener("change", drawAll);
  drawAll().then(() => { document.documentElement.dataset.drawn = String(elements.length); });
})();
