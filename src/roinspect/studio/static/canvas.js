// A region over a photograph: what is drawn, and the server that keeps it. Every change is saved at once.
// What could not be saved stays in this browser and is sent again until the server has it.
(() => {
  "use strict";
  const TINT = "rgba(86, 180, 233, 0.14)", DIM = "rgba(0, 0, 0, 0.58)", LINE = "#ffd600", HALO = "#14141a";
  const NEAR = 12, RETRY_MS = 4000, MOST_UNDONE = 300;
  const SOURCES = { own: "drawn", shared: "for all", file: "from a mask", proposed: "proposed", none: "not drawn" };
  const OPENED = { own: "", shared: "This is the region for all photographs. Draw to change it on this one alone.",
    file: "Read from a mask file. Draw to correct it.",
    proposed: "Proposed by the network. Accept it (A), or draw to correct it.", none: "Nothing is drawn yet." };

  class Board {
    constructor(host) {
      this.host = host;
      this.canvas = host.querySelector("canvas");
      this.context = this.canvas.getContext("2d");
      this.mask = document.createElement("canvas");
      this.veil = document.createElement("canvas");
      // Points are in pixels of the photograph; the view says where these are on the canvas, in CSS pixels.
      Object.assign(this, { tool: "polygon", erase: false, key: "", source: "none", shapes: [], begun: [], past: [],
        future: [], stroke: null, box: null, cross: null, grip: null, drag: null, pointers: new Map(), before: null,
        photo: null, detail: null, size: [1, 1], view: { scale: 1, x: 0, y: 0 }, smallest: {}, list: [], page: 0,
        pages: 1, only: "all", opening: 0, sending: false, pending: new Map(), versions: new Map() });
      this.listen();
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
        this.project = new URLSearchParams(location.search).get("project") || "";
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
        if (this.shapes.length) this.before = { shapes: this.shapes, size: this.size };
        Object.assign(this, { key, photo, size: answer.size_hw, source: answer.source, shapes: answer.shapes,
          begun: answer.begun || [], smallest: answer.smallest, past: [], future: [], stroke: null, box: null,
          cross: null, grip: null, drag: null });
        this.fit();
        this.say(OPENED[answer.source]);
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
        this.context.reset();
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
            if (key === this.key) { this.source = "own"; this.say("Saved."); }
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

    // The list again, and the photograph, if its region was changed by another hand.
    async refresh() {
      await this.turnTo(this.page);
      const entry = this.list.find((photograph) => photograph.key === this.key);
      if (entry && entry.source !== this.source && !this.past.length && !this.pending.size) this.open(this.key);
    }

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
      Object.assign(this, from.pop(), { grip: null });
      this.paint();
      this.save();
    }

    corner(point) {
      const [first] = this.begun;
      if (this.begun.length >= 3 && first && this.away(first, point) < NEAR) this.close();
      else this.change(() => { this.begun = [...this.begun, point]; this.grip = null; });
    }

    close() {
      if (this.begun.length < 3) return;
      const shape = { kind: "polygon", points: this.begun, radius: 0, erase: this.erase };
      this.change(() => { this.shapes = [...this.shapes, shape]; this.begun = []; });
    }

    add(shape) { this.change(() => { this.shapes = [...this.shapes, shape]; }); }

    withCorners(index, how, shapes = this.shapes) {
      const points = how(shapes[index].points);
      return shapes.map((shape, at) => (at === index ? { ...shape, points } : shape));
    }

    dropCorner() {
      const { index, corner } = this.grip || {};
      if (corner === undefined || !this.shapes[index]) return;
      const { points } = this.shapes[index];
      this.change(() => {
        this.shapes = points.length > 3 ? this.withCorners(index, (all) => all.filter((_, at) => at !== corner))
          : this.shapes.filter((_, at) => at !== index);
        this.grip = null;
      });
    }

    shifted(shapes, by) {
      return shapes.map((shape) => ({ ...shape, points: shape.points.map(([x, y]) => [this.round(x + by[0]), this.round(y + by[1])]) }));
    }

    // What was drawn on the photograph that was open before.
    repeat() {
      const { shapes, size } = this.before || {};
      if (!shapes) { this.say("No region was drawn on a photograph before this one.", true); return; }
      const [down, across] = [this.size[0] / size[0], this.size[1] / size[1]];
      const fitted = shapes.map((shape) => ({ ...shape, radius: shape.radius * across,
        points: shape.points.map(([x, y]) => [this.round(x * across), this.round(y * down)]) }));
      this.change(() => { this.shapes = fitted; this.begun = []; });
    }

    // The server finds the outline of what was pressed, or lies in a box of two corners.
    async outline(points) {
      const { key, erase } = this;
      this.say("Looking for the outline…");
      try {
        const headers = { "Content-Type": "application/json" };
        const found = await this.ask("outline", { key }, { method: "POST", headers, body: JSON.stringify(points) });
        if (key !== this.key) return;
        this.change(() => { this.shapes = [...this.shapes, ...found.shapes.map((shape) => ({ ...shape, erase }))]; });
      } catch (error) { if (key === this.key) this.say(this.words(error), true); }
    }

    async accept(all) {
      try {
        const { accepted } = await this.ask("accept", all ? {} : { key: this.key }, { method: "POST" });
        await this.turnTo(this.page);
        if (all) {
          await this.open(this.key);
          this.say(`${accepted.toLocaleString("en")} proposals are accepted.`);
        } else if (accepted) await this.step(1, true);
      } catch (error) { this.say(this.words(error), true); }
    }

    away(a, b) { return Math.hypot(a[0] - b[0], a[1] - b[1]) * this.view.scale; }
    round(number) { return Math.round(number * 10) / 10; }
    brush(point) { return { kind: "brush", points: [point], radius: this.round(this.radius()), erase: this.erase }; }
    radius() {
      const share = Number(this.host.querySelector("[data-size]").value) / 100;
      return Math.max(0.75, share * share * 0.25 * Math.min(...this.size));
    }

    async step(by, isGone = false) {
      let at = this.list.findIndex((photograph) => photograph.key === this.key);
      // Those accepted have left the list of proposals: the next one is now first.
      at = at < 0 && isGone ? 0 : at + by;
      if (at >= this.list.length && this.page + 1 < this.pages) { await this.turnTo(this.page + 1); at = 0; }
      if (at < 0 && this.page > 0) { await this.turnTo(this.page - 1); at = this.list.length - 1; }
      if (!this.list[at]) { this.say("This is the last photograph of the list."); return; }
      await this.open(this.list[at].key);
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
  window.roinspect.look = { TINT, DIM, LINE, HALO, SOURCES, NEAR };
})();
