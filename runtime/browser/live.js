// What wasmhost dev adds to a page: it follows the server's events, takes new code by loading the page anew,
// new styles and pictures in place, and shows what is wrong above the page. It needs `script-src 'self'` (or the
// nonce of the page's policy) and `connect-src 'self'`; it styles by script alone, which no policy forbids.
(() => {
  const own = document.currentScript;
  if (window.wasmhost_live) return;
  window.wasmhost_live = true;
  const page = { ...own.dataset };
  const KEPT = "wasmhost-kept " + location.pathname + location.search;

  // --- state that outlives a load ---

  const fields = () =>
    [...document.querySelectorAll("input, textarea, select")].filter(
      (field) => !["password", "hidden", "file", "submit", "button"].includes(field.type),
    );
  const name = (field, at) => field.id || [field.form?.id ?? "", field.name, field.type, at].join(" ");

  function keep() {
    const values = fields().map((field, at) => [
      name(field, at),
      ["checkbox", "radio"].includes(field.type) ? field.checked : field.value,
    ]);
    const focus = fields().indexOf(document.activeElement);
    try {
      sessionStorage.setItem(KEPT, JSON.stringify({ values, focus, x: scrollX, y: scrollY }));
    } catch {
      // Without storage the browser does what it does.
    }
  }

  function restore() {
    let kept;
    try {
      kept = JSON.parse(sessionStorage.getItem(KEPT));
      sessionStorage.removeItem(KEPT);
    } catch {
      return;
    }
    if (!kept) return;
    const values = new Map(kept.values);
    fields().forEach((field, at) => {
      const value = values.get(name(field, at));
      if (value === undefined) return;
      if (typeof value === "boolean") field.checked = value;
      else field.value = value;
    });
    fields()[kept.focus]?.focus({ preventScroll: true });
    scrollTo(kept.x, kept.y);
  }

  function load() {
    // A form that was posted is not to be posted again.
    if (page.method !== "GET") return notice("The page has changed: open it again to see it.");
    keep();
    location.reload();
  }

  // --- static files in place ---

  const path = (url) => {
    const { origin, pathname } = new URL(url, location.href);
    return origin === location.origin ? pathname : undefined;
  };
  const fresh = (url, number) => {
    const changed = new URL(url, location.href);
    changed.searchParams.set("wasmhost", number);
    return changed.href;
  };
  const sheets = () => [...document.querySelectorAll('link[rel~="stylesheet"][href]')];

  function relink(link, number) {
    const next = link.cloneNode();
    next.href = fresh(link.href, number);
    // The old one goes when the new one is there: the page is never without style.
    next.onload = next.onerror = () => link.remove();
    link.after(next);
  }

  // False where only a load shows the change.
  function replace(file, number) {
    if (/\.css$/.test(file)) {
      const links = sheets().filter((link) => path(link.href) === file);
      // One that no page names is imported by others.
      (links.length ? links : sheets()).forEach((link) => relink(link, number));
      return true;
    }
    if (/\.(png|jpe?g|gif|webp|avif|svg|ico|woff2?|ttf|otf)$/.test(file)) {
      for (const image of document.images) {
        if (path(image.currentSrc || image.src) !== file) continue;
        image.removeAttribute("srcset");
        image.src = fresh(image.src, number);
      }
      sheets().forEach((link) => relink(link, number));
      return true;
    }
    return /\.(txt|md|map)$/.test(file);
  }

  // --- what is wrong ---

  let layer;
  let dismissed = "";

  function shadow() {
    if (layer?.host.isConnected) return layer;
    const host = document.createElement("wasmhost-overlay");
    layer = host.attachShadow({ mode: "open" });
    const style = new CSSStyleSheet();
    style.replaceSync(`
      :host { all: initial; }
      section { position: fixed; inset: 0; z-index: 2147483647; overflow: auto; padding: 2.5rem 1rem;
        background: rgb(16 18 22 / 88%); font: 14px/1.5 ui-monospace, Menlo, Consolas, monospace; }
      article { max-width: 70rem; margin: 0 auto 1rem; padding: 1rem 1.25rem; border-radius: 6px;
        background: #181b20; color: #e8e6e3; border-top: 4px solid #e5534b; }
      h2 { margin: 0 0 .5rem; font-size: 15px; color: #ff938a; }
      pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
      p { max-width: 70rem; margin: 0 auto; color: #9aa0a8; }
      aside { position: fixed; right: 1rem; bottom: 1rem; z-index: 2147483647; padding: .6rem 1rem;
        border-radius: 6px; background: #181b20; color: #e8e6e3; font: 14px system-ui, sans-serif; }
    `);
    layer.adoptedStyleSheets = [style];
    document.documentElement.append(host);
    return layer;
  }

  function show(problems) {
    const said = JSON.stringify(problems);
    if (!problems.length || said === dismissed) {
      layer?.querySelector("section")?.remove();
      if (!problems.length) dismissed = "";
      return;
    }
    const section = document.createElement("section");
    section.setAttribute("role", "alert");
    for (const problem of problems) {
      const article = document.createElement("article");
      const title = document.createElement("h2");
      title.textContent = problem.title;
      const text = document.createElement("pre");
      text.textContent = problem.text;
      article.append(title, text);
      section.append(article);
    }
    const hint = document.createElement("p");
    hint.textContent = "The last good version goes on serving. This goes when it is mended; Esc or a click hides it.";
    section.append(hint);
    section.onclick = () => {
      if (getSelection().isCollapsed) hide();
    };
    const hide = () => {
      dismissed = said;
      section.remove();
    };
    section.hide = hide;
    shadow().querySelector("section")?.remove();
    layer.append(section);
  }

  addEventListener("keydown", (event) => {
    if (event.key === "Escape") layer?.querySelector("section")?.hide();
  });

  function notice(text) {
    const aside = shadow().querySelector("aside") ?? document.createElement("aside");
    aside.textContent = text;
    layer.append(aside);
  }

  // --- what the server says ---

  const [group, number] = (page.generation ?? "").split("@");
  let generation = Number(number);
  let seen;

  function take(state) {
    show(state.problems);
    if (state.process !== page.process) return load();
    if (!group) {
      // The host's own answer: any change may have mended it.
      const now = JSON.stringify(state.groups);
      if (seen !== undefined && seen !== now) return load();
      seen = now;
      return;
    }
    if (state.groups[group] && state.groups[group].code > generation) return load();
    for (const [name, { generation: newest, files }] of Object.entries(state.groups)) {
      const since = name === group ? generation : (others.get(name) ?? newest);
      const changed = Object.entries(files).filter(([, number]) => number > since);
      const shown = changed.map(([file, number]) => replace("/" + file, number));
      if (name === group && shown.includes(false)) return load();
      others.set(name, newest);
    }
    generation = Math.max(generation, state.groups[group]?.generation ?? 0);
  }
  const others = new Map();

  if (document.readyState === "complete") restore();
  else addEventListener("load", restore);
  // Browsers keep six connections to a server: of all tabs one follows the events and tells the others.
  const tabs = new BroadcastChannel("wasmhost");
  let last;
  tabs.onmessage = ({ data }) => {
    if (data !== "what?") take(data);
    else if (last) tabs.postMessage(last);
  };
  tabs.postMessage("what?");
  let events;
  const connect = () => {
    events = new EventSource("/.wasmhost/events");
    events.onmessage = (event) => {
      last = JSON.parse(event.data);
      tabs.postMessage(last);
      take(last);
    };
    events.onerror = () => {
      // The browser gives up where an answer was no stream of events: a server that is just starting.
      if (events.readyState === EventSource.CLOSED) setTimeout(connect, 1000);
    };
  };
  // The lock is held as long as the page is there; then another tab's turn has come.
  const lead = () => new Promise(() => connect());
  if (navigator.locks) navigator.locks.request("wasmhost-events", lead).catch(connect);
  else connect();
  addEventListener("pagehide", () => events?.close());
})();
