// Draw a region over a photograph: polygon and brush, by mouse, finger or keyboard. Every change is saved at once.
// What could not be saved stays in this browser and is sent again until the server has it.
(() => {
  "use strict";
  const TINT = "rgba(86, 180, 233, 0.14)", DIM = "rgba(0, 0, 0, 0.58)", LINE = "#ffd600", HALO = "#14141a";
  const NEAR = 12, RETRY_MS = 4000, MOST_UNDONE = 300;
  const SOURCES = { own: "drawn", shared: "for all", file: "from a mask", proposed: "proposed", none: "not drawn" };

  class Board {
    constructor(host) {
      this.host = host;
      this.canvas = host.querySelector("canvas");
      this.context = this.canvas.getContext("2d");
      this.mask = document.createElement("canvas");
      this.veil = document.createElement("canvas");
      Object.assign(this, { tool: "polygon", erase: false, key: "", shapes: [], begun: [], past: [],
        future: [], stroke: null, cross: null, photo: null, size: [1, 1], list: [], page: 0, pages: 1, only: "all",
        opening: 0, sending: false, pending: new Map(), versions: new Map() });
      host.addEventListener("click", (event) => this.clicked(event));
      host.querySelector("[data-zoom]").addEventListener("change", () => this.fit());
      host.querySelector("[data-size]").addEventListener("input", () => this.paint());
      host.querySelector("[data-only]").addEventListener("change", (event) => {
        this.only = event.target.value;
        this.turnTo(0);
      });
      this.canvas.addEventListener("pointerdown", (event) => this.down(event));
      this.canvas.addEventListener("pointermove", (event) => this.moved(event));
      for (const kind of ["pointerup", "pointercancel"]) this.canvas.addEventListener(kind, () => this.up());
      this.canvas.addEventListener("dblclick", () => this.close());
      this.canvas.addEventListener("keydown", (event) => this.pressed(event));
      this.canvas.addEventListener("blur", () => { this.cross = null; this.paint(); });
      this.choose("polygon");
      this.start();
    }

    // -- the server ---------------------------------------------------------------------------------------

    async fetch(path, parameters, options = {}) {
      const query = new URLSearchParams({ project: this.project, ...parameters });
      const response = await fetch(`/studio/${path}?${query}`, options);
      if (response.ok) return response;
      const { error } = await response.json().catch(() => ({}));
      throw Object.assign(new Error(error || `the studio answered ${response.status}`), { isAnswer: true });
    }

    async ask(path, parameters = {}, options = {}) { return (await this.fetch(path, parameters, options)).json(); }

    async start() {
      try {
        this.project = (await this.ask("current")).project;
        await this.turnTo(0);
        if (this.list.length) await this.open(this.list[0].key);
      } catch (error) { this.say(this.words(error), true); }
    }

    words(error) { return error.isAnswer ? error.message : "The studio does not answer. Is it still running? Nothing drawn is lost."; }

    async turnTo(page) {
      try {
        const answer = await this.ask("photographs", { page, only: this.only });
        Object.assign(this, { list: answer.photographs, page: answer.page, pages: answer.pages, looked: Date.now() });
        this.host.querySelector(".page").textContent =
          `${answer.total.toLocaleString("en")} photographs, page ${answer.page + 1} of ${answer.pages}`;
        this.strip();
      } catch (error) { this.say(this.words(error), true); }
    }

    async open(key) {
      const turn = ++this.opening;
      this.say("opening…");
      try {
        const answer = await this.ask("drawing", { key });
        const photo = await createImageBitmap(await (await this.fetch("image", { key })).blob());
        if (turn !== this.opening) return;
        Object.assign(this, { key, photo, size: answer.size_hw, shapes: answer.shapes, begun: answer.begun || [],
          past: [], future: [], stroke: null, cross: null });
        this.fit();
        this.say({ own: "", shared: "This is the region for all photographs. Draw to change it on this one alone.",
          file: "Read from a mask file. Draw to correct it.", proposed: "Proposed by the network. Look, and draw to correct it.",
          none: "Nothing is drawn yet." }[answer.source]);
        const unsaved = this.pending.get(key) || this.recall(key);
        const there = JSON.stringify([answer.shapes, answer.begun]);
        if (unsaved && JSON.stringify([unsaved.shapes, unsaved.begun]) === there) this.forget(key);
        else if (unsaved) {
          this.change(() => Object.assign(this, { shapes: unsaved.shapes, begun: unsaved.begun }));
          this.say("What could not be saved before is back.");
        }
      } catch (error) {
        if (turn !== this.opening) return;
        Object.assign(this, { key, photo: null, shapes: [], begun: [] });
        this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
        this.say(this.words(error), true);
        // What failed without an answer may succeed later: a network that was down, a browser short of memory.
        if (!error.isAnswer) setTimeout(() => { if (turn === this.opening) this.open(key); }, RETRY_MS);
      }
      this.strip();
    }

    save() {
      this.pending.set(this.key, { shapes: this.shapes, begun: this.begun });
      this.remember(this.key);
      this.send();
    }

    async send() {
      if (this.sending) return;
      this.sending = true;
      let fault = null;
      while (this.pending.size && !fault) {
        for (const [key, drawing] of [...this.pending]) {
          try {
            const body = JSON.stringify(drawing);
            await this.ask("drawing", { key }, { method: "PUT", headers: { "Content-Type": "application/json" }, body });
            this.versions.set(key, Date.now());
            if (this.pending.get(key) === drawing) { this.pending.delete(key); this.forget(key); }
            if (key === this.key) this.say("Saved.");
            const entry = this.list.find((photograph) => photograph.key === key);
            if (entry && entry.source !== "own") { entry.source = "own"; this.strip(); }
          } catch (error) { fault = error; }
        }
      }
      this.sending = false;
      if (!fault) return;
      this.say(`Not saved yet, but kept in this browser: ${this.words(fault)}`, true);
      clearTimeout(this.again);
      this.again = setTimeout(() => this.send(), RETRY_MS);
    }

    place(key) { return `roinspect:${this.project}:${key}`; }
    remember(key) { try { localStorage.setItem(this.place(key), JSON.stringify(this.pending.get(key))); } catch { /* full: memory has it */ } }
    forget(key) { try { localStorage.removeItem(this.place(key)); } catch { /* as above */ } }
    recall(key) { try { return JSON.parse(localStorage.getItem(this.place(key))); } catch { return null; } }

    // -- what is drawn ------------------------------------------------------------------------------------

    change(how) {
      if (!this.photo) return;
      this.past.push({ shapes: this.shapes, begun: this.begun });
      if (this.past.length > MOST_UNDONE) this.past.shift();
      this.future = [];
      how();
      this.paint();
      this.save();
    }

    travel(from, to) {
      if (!from.length) return;
      to.push({ shapes: this.shapes, begun: this.begun });
      Object.assign(this, from.pop());
      this.paint();
      this.save();
    }

    corner(point) {
      const [first] = this.begun;
      if (this.begun.length >= 3 && first && this.away(first, point) < NEAR) this.close();
      else this.change(() => { this.begun = [...this.begun, point]; });
    }

    close() {
      if (this.begun.length < 3) return;
      const shape = { kind: "polygon", points: this.begun, radius: 0, erase: this.erase };
      this.change(() => { this.shapes = [...this.shapes, shape]; this.begun = []; });
    }

    away(a, b) { return Math.hypot(a[0] - b[0], a[1] - b[1]) * this.perPixel(); }
    perPixel() { return this.canvas.getBoundingClientRect().width / this.size[1] || 1; }
    radius() {
      const share = Number(this.host.querySelector("[data-size]").value) / 100;
      return Math.max(0.75, share * share * 0.25 * Math.min(...this.size));
    }

    // -- hands --------------------------------------------------------------------------------------------

    point(event) {
      const box = this.canvas.getBoundingClientRect();
      const across = (event.clientX - box.left) / box.width, down = (event.clientY - box.top) / box.height;
      return [this.round(across * this.size[1]), this.round(down * this.size[0])];
    }
    round(number) { return Math.round(number * 10) / 10; }

    down(event) {
      if (!this.photo || event.button > 0) return;
      this.canvas.focus({ preventScroll: true });
      this.cross = null;
      const point = this.point(event);
      if (this.tool === "polygon") { this.corner(point); return; }
      this.canvas.setPointerCapture(event.pointerId);
      this.stroke = this.brush(point);
      this.paint();
    }

    moved(event) {
      this.hover = this.point(event);
      if (this.stroke) {
        const last = this.stroke.points[this.stroke.points.length - 1];
        if (this.away(last, this.hover) >= 2) this.stroke.points.push(this.hover);
      }
      if (this.stroke || this.begun.length || this.tool === "brush") this.paint();
    }

    up() {
      if (!this.stroke) return;
      const stroke = this.stroke;
      this.stroke = null;
      this.add(stroke);
    }

    brush(point) { return { kind: "brush", points: [point], radius: this.round(this.radius()), erase: this.erase }; }
    add(shape) { this.change(() => { this.shapes = [...this.shapes, shape]; }); }

    pressed(event) {
      const [height, width] = this.size;
      const step = (event.shiftKey ? 0.1 : 0.01) * Math.max(height, width);
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const size = this.host.querySelector("[data-size]");
      const does = {
        " ": () => this.set(), Enter: () => this.close(), Backspace: () => this.travel(this.past, this.future),
        Escape: () => { if (this.begun.length) this.change(() => { this.begun = []; }); },
        p: () => this.choose("polygon"), b: () => this.choose("brush"), e: () => this.act("erase"),
        "[": () => { size.value = Number(size.value) - 5; }, "]": () => { size.value = Number(size.value) + 5; },
      };
      if (event.ctrlKey || event.metaKey) {
        if (key === "z") this.travel(...(event.shiftKey ? [this.future, this.past] : [this.past, this.future]));
        else if (key === "y") this.travel(this.future, this.past);
        else return;
      } else if (moves[key]) {
        const [x, y] = this.cross || [width / 2, height / 2], [right, down] = moves[key];
        this.cross = [this.round(Math.min(width, Math.max(0, x + right))), this.round(Math.min(height, Math.max(0, y + down)))];
      } else if (does[key]) does[key]();
      else return;
      event.preventDefault();
      this.paint();
    }

    set() {
      this.cross = this.cross || [this.size[1] / 2, this.size[0] / 2];
      if (this.tool === "polygon") { this.corner(this.cross); return; }
      this.add(this.brush(this.cross));
    }

    clicked(event) {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.tool) this.choose(button.dataset.tool);
      else if (button.dataset.key) this.open(button.dataset.key);
      else if (button.dataset.do) this.act(button.dataset.do);
    }

    choose(tool) {
      this.tool = tool;
      for (const button of this.host.querySelectorAll("[data-tool]"))
        button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
      this.paint();
    }

    act(what) {
      if (what === "undo") this.travel(this.past, this.future);
      if (what === "redo") this.travel(this.future, this.past);
      if (what === "clear") this.change(() => Object.assign(this, { shapes: [], begun: [] }));
      if (what === "close") this.close();
      if (what === "erase") {
        this.erase = !this.erase;
        this.host.querySelector('[data-do="erase"]').setAttribute("aria-pressed", String(this.erase));
      }
      if (what === "previous") this.step(-1);
      if (what === "next") this.step(1);
      if (what === "page-back" && this.page > 0) this.turnTo(this.page - 1);
      if (what === "page-on" && this.page + 1 < this.pages) this.turnTo(this.page + 1);
      if (what === "share") this.share();
    }

    async step(by) {
      let at = this.list.findIndex((photograph) => photograph.key === this.key) + by;
      if (at >= this.list.length && this.page + 1 < this.pages) { await this.turnTo(this.page + 1); at = 0; }
      if (at < 0 && this.page > 0) { await this.turnTo(this.page - 1); at = this.list.length - 1; }
      if (this.list[at]) this.open(this.list[at].key);
    }

    async share() {
      try {
        const answer = await this.ask("share", { key: this.key }, { method: "POST" });
        await this.turnTo(this.page);
        this.say(`This is now the region of all ${answer.photographs.toLocaleString("en")} photographs but those with a drawing of their own. ` +
          "Look at the pictures below. Where it does not fit, the parts lie differently: draw on some ten of them, and let the network propose the rest.");
      } catch (error) { this.say(this.words(error), true); }
    }

    say(text, isBad = false) {
      const line = this.host.querySelector(".saved");
      line.textContent = text || " ";
      line.classList.toggle("bad", isBad);
    }
  }

  window.roinspect = window.roinspect || {};
  window.roinspect.Board = Board;
  window.roinspect.look = { TINT, DIM, LINE, HALO, SOURCES };
})();
