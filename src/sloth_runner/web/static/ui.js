// Why: pages follow what happens, and can be used from the keyboard. Everything else works without this file.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const token = () => $("meta[name=csrf]").content;

  document.documentElement.classList.remove("no-js");

  // --- Requests that htmx makes carry the session's token.
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb !== "get") event.detail.headers["X-CSRF-Token"] = token();
  });

  // --- What somebody has opened or is typing stays as it is when the page is made anew.
  if (window.Idiomorph) {
    const touched = new WeakSet();
    document.addEventListener("input", (event) => touched.add(event.target));
    Idiomorph.defaults.callbacks.beforeNodeMorphed = (node) => node !== document.activeElement
      ? !touched.has(node) : !node.matches("input, select, textarea");
    Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
      !(name === "open" && element.tagName === "DETAILS") && !(name === "aria-selected");
  }

  // --- Times: how long ago, as long as the page is open.
  const units = [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]];
  function human(seconds) {
    const whole = Math.round(seconds);
    for (const [size, unit, below, small] of units) {
      if (whole >= size) {
        const rest = Math.floor((whole % size) / below);
        return Math.floor(whole / size) + unit + (rest ? " " + rest + small : "");
      }
    }
    return whole + "s";
  }
  function ago(moment, now) {
    const distance = (now - moment) / 1000;
    if (Math.abs(distance) < 1) return "just now";
    return distance > 0 ? human(distance) + " ago" : "in " + human(-distance);
  }
  let skew = 0; // between the server's clock and this one
  function tick() {
    const now = Date.now() + skew;
    for (const element of all("time[data-live]")) {
      const text = ago(Date.parse(element.dateTime), now);
      if (element.textContent !== text) element.textContent = text;
    }
    for (const bar of all("progress[data-expires]")) {
      const left = Math.max(0, (Date.parse(bar.dataset.expires) - now) / 1000);
      bar.value = left;
      const text = bar.nextElementSibling;
      if (text) text.textContent = left > 0 ? human(left) + " left" : "ended";
    }
  }
  const stamp = $("meta[name=now]");
  if (stamp) skew = Number(stamp.content) * 1000 - Date.now();
  setInterval(tick, 1000);

  // --- Live: the server says what has changed; what is shown of it is fetched again.
  const told = $("#live");
  let line = null;
  let busy = false;
  let again = false;
  let retry = 0;
  const SLOW = 3000; // milliseconds: a server that is away is waited for, and meanwhile the page is of before
  let asked = ""; // the address of the refresh under way
  const topics = () => ($("#page")?.dataset.topics ?? "").split(" ");
  // A page that answers a form, or asks something, stays as it is: made anew it would be another one.
  const lives = () => topics().some((topic) => topic && topic !== "trouble");
  const here = () => location.pathname + location.search;
  async function refresh() {
    const page = $("#page");
    if (!page || document.hidden || !lives()) return;
    if (busy) { again = true; return; }
    busy = true;
    const slow = setTimeout(() => lost("the state takes long to be read"), SLOW);
    try {
      asked = here();
      await htmx.ajax("GET", asked, { source: page, target: "#page", select: "#page", swap: "morph:outerHTML" });
    } finally {
      clearTimeout(slow);
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }
  // Somebody may have gone elsewhere meanwhile, whose page must not be replaced by that of before.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const detail = event.detail;
    const status = detail.xhr.status;
    if (detail.requestConfig?.elt.id !== "page") {
      if (status >= 400) { detail.isError = false; location.href = detail.xhr.responseURL; } // the server says why
      return;
    }
    detail.isError = false;
    if (asked !== here()) { detail.shouldSwap = false; again = true; }
    else if (status === 401) location.reload(); // the session has ended: the server says what to do
    else if (status >= 500) {
      lost("the state can't be read");
      clearTimeout(retry);
      retry = setTimeout(refresh, 3000);
    }
    else {
      if (line) told.textContent = "";
      if (status >= 400) detail.shouldSwap = true; // what was shown is gone
    }
  });
  // Where somebody was is found again in the new page, wherever it stands there.
  let focused = null;
  document.addEventListener("htmx:beforeSwap", () => {
    focused = document.activeElement.closest("#page") ? document.activeElement.getAttribute("href") : null;
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (focused === null || document.activeElement !== document.body) return;
    $(`#page a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  });
  function lost(why) { told.textContent = `Not live: ${why}`; }
  function listen() {
    if (line || !lives()) return;
    line = new EventSource("/events");
    line.addEventListener("hello", (event) => {
      told.textContent = "";
      if (event.data !== $("#page")?.dataset.told) refresh(); // something was told before we listened
    });
    line.addEventListener("change", (event) => {
      const changed = event.data.split(" ");
      if (topics().some((topic) => changed.includes(topic))) refresh();
    });
    line.onerror = () => {
      lost("no connection to the server");
      if (line.readyState === EventSource.CLOSED) { line = null; refresh(); setTimeout(listen, 3000); }
    };
  }
  // A page that nobody looks at holds no connection: a browser has only a few of them for one server.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { line?.close(); line = null; }
    else { listen(); refresh(); }
  });
  window.addEventListener("pagehide", () => { line?.close(); line = null; });
  window.addEventListener("pageshow", () => { if (!document.hidden) listen(); });

  // --- The keyboard.
  const rows = () => all("#page [data-row]");
  const current = () => rows().findIndex((row) => row.getAttribute("aria-selected") === "true");
  function select(index) {
    const list = rows();
    if (!list.length) return;
    const at = Math.max(0, Math.min(list.length - 1, index));
    list.forEach((row, i) => (i === at ? row.setAttribute("aria-selected", "true") : row.removeAttribute("aria-selected")));
    list[at].scrollIntoView({ block: "nearest" });
    $("a, summary", list[at])?.focus({ preventScroll: true });
  }
  let going = 0;
  document.addEventListener("keydown", (event) => {
    const help = $("#help");
    const typing = event.target.matches("input, textarea, select");
    if (event.key === "Escape" && typing) { event.preventDefault(); event.target.blur(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (going && Date.now() - going < 1500) {
      going = 0;
      const target = $(`a[data-go="${CSS.escape(event.key)}"]`);
      if (target) { event.preventDefault(); target.click(); }
      return;
    }
    if (event.key === "g") going = Date.now();
    else if (event.key === "?") help.showModal();
    else if (event.key === "j") select(current() + 1);
    else if (event.key === "k") select(current() < 0 ? 0 : current() - 1);
    else if (event.key === "/") {
      const field = $("input[type=search]");
      event.preventDefault();
      if (field) { field.focus(); field.select(); }
      else location.href = "/state?focus=search";
    }
  });
  $("#help-open")?.addEventListener("click", () => $("#help").showModal());
  if (new URLSearchParams(location.search).get("focus") === "search") $("input[type=search]")?.focus();

  // --- A command is copied.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = button.dataset.copy;
    try { await navigator.clipboard.writeText(text); }
    catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = before), 1500);
  });

  // --- A choice that leads to another page needs no button. With the arrow keys each step is one: the next page goes on
  // where this one was.
  const CHOOSING = "choosing";
  document.addEventListener("change", (event) => {
    if (!event.target.matches("select[data-submit]")) return;
    sessionStorage.setItem(CHOOSING, event.target.name);
    event.target.form.requestSubmit();
  });
  const choosing = sessionStorage.getItem(CHOOSING);
  sessionStorage.removeItem(CHOOSING);
  if (choosing) $(`select[data-submit][name="${choosing}"]`)?.focus();

  $(".bar nav a[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
  listen();
})();
