// Mouse, finger and keyboard: the tools, corners that can be moved, zoom and panning.
(() => {
  "use strict";
  const { NEAR } = window.roinspect.look;
  const STILL = 4, CLOSEST = 40, NOTCH = 1.0015, SETTLED_MS = 160;
  const middle = ([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];

  Object.assign(window.roinspect.Board.prototype, {
    listen() {
      const { host, canvas } = this;
      host.addEventListener("click", (event) => this.clicked(event));
      host.querySelector("[data-size]").addEventListener("input", () => this.paint());
      host.querySelector("[data-smallest]").addEventListener("change", () => this.paint());
      host.querySelector("[data-only]").addEventListener("change", (event) => {
        this.only = event.target.value;
        this.turnTo(0);
      });
      canvas.addEventListener("pointerdown", (event) => this.down(event));
      canvas.addEventListener("pointermove", (event) => this.moved(event));
      for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.up(event));
      canvas.addEventListener("pointerleave", () => { this.hover = null; this.paint(); });
      canvas.addEventListener("dblclick", () => this.close());
      canvas.addEventListener("contextmenu", (event) => event.preventDefault());
      canvas.addEventListener("wheel", (event) => this.rolled(event), { passive: false });
      canvas.addEventListener("keydown", (event) => this.pressed(event));
      canvas.addEventListener("blur", () => { this.cross = null; this.paint(); });
    },

    // -- view ---------------------------------------------------------------------------------------------

    onCanvas(event) {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    },
    toPhoto([x, y]) { return [(x - this.view.x) / this.view.scale, (y - this.view.y) / this.view.scale]; },
    toCanvas([x, y]) { return [x * this.view.scale + this.view.x, y * this.view.scale + this.view.y]; },
    // Where a point of the photograph is in the window.
    inWindow(point) {
      this.canvas.scrollIntoView({ block: "center" });
      const box = this.canvas.getBoundingClientRect(), [x, y] = this.toCanvas(point);
      return [box.left + x, box.top + y];
    },
    point(event) {
      const [x, y] = this.toPhoto(this.onCanvas(event)), [height, width] = this.size;
      return [this.round(Math.min(width, Math.max(0, x))), this.round(Math.min(height, Math.max(0, y)))];
    },

    zoom(factor, at = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
      const { view } = this, scale = Math.min(CLOSEST, Math.max(this.fitting(), view.scale * factor));
      this.show(scale, at[0] - (at[0] - view.x) * (scale / view.scale), at[1] - (at[1] - view.y) * (scale / view.scale));
    },

    // All of the photograph lies in the middle of the canvas; where it is larger, it covers the middle.
    show(scale, x, y) {
      const [height, width] = this.size.map((side) => side * scale), { clientWidth, clientHeight } = this.canvas;
      const held = (at, length, room) => (scale <= this.fitting() ? (room - length) / 2
        : Math.min(room / 2, Math.max(room / 2 - length, at)));
      this.view = { scale, x: held(x, width, clientWidth), y: held(y, height, clientHeight) };
      this.paint();
      clearTimeout(this.settling);
      this.settling = setTimeout(() => this.sharpen(), SETTLED_MS);
    },

    // Fetch the part in view at the photograph's own resolution, where the one at hand is coarser.
    async sharpen() {
      const { key, photo, view, size: [height, width] } = this;
      const coarse = view.scale * window.devicePixelRatio * (width / (photo?.width || width));
      if (!photo || coarse <= 1.01 || photo.width >= width) return;
      const low = this.toPhoto([0, 0]), high = this.toPhoto([this.canvas.clientWidth, this.canvas.clientHeight]);
      const [left, top] = low.map((side) => Math.max(0, Math.floor(side)));
      const [right, bottom] = [Math.min(width, Math.ceil(high[0])), Math.min(height, Math.ceil(high[1]))];
      const box = [left, top, right, bottom].join();
      if (this.detail?.box === box) return;
      try {
        const image = await createImageBitmap(await (await this.fetch("image", { key, box })).blob());
        if (key !== this.key || view !== this.view) return;
        this.detail = { image, box, left, top, width: right - left, height: bottom - top };
        this.paint();
      } catch { /* the coarser one stays */ }
    },

    rolled(event) {
      if (!this.photo || (event.deltaY > 0 && this.view.scale <= this.fitting())) return;
      event.preventDefault();
      this.zoom(NOTCH ** -(event.deltaY * (event.deltaMode ? 30 : 1)), this.onCanvas(event));
    },

    pan() {
      const { view } = this, from = this.drag.from;
      this.drag.move = (_, at) => this.show(view.scale, view.x + at[0] - from[0], view.y + at[1] - from[1]);
    },

    // Two fingers: the photograph stays under both.
    pinch() {
      const at = [...this.pointers.values()], apart = Math.hypot(at[0][0] - at[1][0], at[0][1] - at[1][1]);
      const { view } = this, [x, y] = this.toPhoto(middle(at));
      Object.assign(this, { stroke: null, box: null, drag: { move: () => {
        const now = [...this.pointers.values()];
        if (now.length < 2) return;
        const [to, wide] = [middle(now), Math.hypot(now[0][0] - now[1][0], now[0][1] - now[1][1])];
        const scale = Math.min(CLOSEST, Math.max(this.fitting(), view.scale * (wide / apart)));
        this.show(scale, to[0] - x * scale, to[1] - y * scale);
      } } });
    },

    // -- mouse and finger ---------------------------------------------------------------------------------

    down(event) {
      if (!this.photo) return;
      this.canvas.focus({ preventScroll: true });
      this.canvas.setPointerCapture(event.pointerId);
      this.cross = null;
      const at = this.onCanvas(event), point = this.point(event);
      this.pointers.set(event.pointerId, at);
      this.drag = { from: at, isStill: true };
      if (this.pointers.size === 2) this.pinch();
      else if (event.button === 1) this.pan();
      else if (event.button === 2) { this.grip = this.gripAt(point); this.dropCorner(); }
      else this.tools[this.tool].call(this, point);
    },

    // What a press begins. A drag may `move`; `still` is for a press that did not move.
    tools: {
      polygon(point) {
        const grip = this.begun.length ? null : this.gripAt(point);
        if (grip) this.dragCorner(grip, point);
        else this.corner(point);
      },
      brush(point) {
        this.stroke = this.brush(point);
        this.paint();
        Object.assign(this.drag, {
          move: (to) => { if (this.away(this.stroke.points.at(-1), to) >= 2) this.stroke.points.push(to); this.paint(); },
          end: () => { const { stroke } = this; this.stroke = null; this.add(stroke); },
        });
        this.drag.still = this.drag.end;
      },
      smart(point) {
        Object.assign(this.drag, {
          move: (to) => { this.box = [point, to]; this.paint(); },
          end: () => { const { box } = this; this.box = null; this.outline(box); },
          still: () => this.outline([point]),
        });
      },
      move(point) {
        if (!this.isMarked(point)) { this.pan(); return; }
        const { shapes } = this;
        this.reshape((to) => this.shifted(shapes, [to[0] - point[0], to[1] - point[1]]));
      },
    },

    // A drag that changes shapes, and is undone as one step.
    reshape(how) {
      const { shapes } = this;
      this.drag.move = (to) => { this.shapes = how(to); this.paint(); };
      this.drag.end = () => {
        const changed = this.shapes;
        this.shapes = shapes;
        this.change(() => { this.shapes = changed; });
      };
    },

    dragCorner(grip, point) {
      const { index, corner, after } = grip, { shapes } = this;
      this.reshape((to) => this.withCorners(index, (points) => (corner === undefined
        ? [...points.slice(0, after + 1), to, ...points.slice(after + 1)]
        : points.map((old, at) => (at === corner ? to : old))), shapes));
      this.drag.still = () => {
        if (corner === undefined) this.corner(point);
        else { this.grip = grip; this.isPicked = true; this.paint(); }
      };
    },

    moved(event) {
      const at = this.onCanvas(event);
      this.hover = this.point(event);
      if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, at);
      const { drag } = this;
      if (drag?.move) {
        if (drag.from && drag.isStill && Math.hypot(at[0] - drag.from[0], at[1] - drag.from[1]) < STILL) return;
        drag.isStill = false;
        drag.move(this.hover, at);
      } else if (!this.pointers.size && this.tool === "polygon" && !this.begun.length) {
        const grip = this.gripAt(this.hover);
        if (!this.isPicked && JSON.stringify(grip) !== JSON.stringify(this.grip)) { this.grip = grip; this.paint(); }
      } else if (this.begun.length || this.tool === "brush") this.paint();
    },

    up(event) {
      this.pointers.delete(event.pointerId);
      const { drag } = this;
      if (!drag || this.pointers.size) return;
      this.drag = null;
      this.isPicked = false;
      if (event.type === "pointercancel") { Object.assign(this, { stroke: null, box: null }); this.paint(); }
      else (drag.isStill ? drag.still : drag.end)?.call(this);
    },

    // The corner near a point, else the side: { index of the shape, corner } or { index, after }.
    gripAt(point) {
      let found = null, nearest = NEAR;
      this.shapes.forEach(({ kind, points }, index) => {
        if (kind !== "polygon") return;
        points.forEach((corner, at) => {
          const far = this.away(corner, point);
          if (far < nearest) { nearest = far; found = { index, corner: at }; }
        });
      });
      if (found) return found;
      nearest = NEAR / 2;
      this.shapes.forEach(({ kind, points }, index) => {
        if (kind !== "polygon") return;
        points.forEach((a, at) => {
          const b = points[(at + 1) % points.length], [right, down] = [b[0] - a[0], b[1] - a[1]];
          const along = ((point[0] - a[0]) * right + (point[1] - a[1]) * down) / (right * right + down * down || 1);
          const far = this.away([a[0] + along * right, a[1] + along * down], point);
          if (along > 0 && along < 1 && far < nearest) { nearest = far; found = { index, after: at }; }
        });
      });
      return found;
    },

    isMarked(point) {
      const [x, y] = this.toCanvas(point).map((side) => Math.round(side * window.devicePixelRatio));
      return this.mask.getContext("2d").getImageData(x, y, 1, 1).data[3] > 127;
    },

    // -- keyboard and buttons -----------------------------------------------------------------------------

    pressed(event) {
      const [height, width] = this.size;
      const corner = this.grip?.corner !== undefined && this.isPicked ? this.grip : null;
      const step = (event.shiftKey ? 0.1 : 0.01) * Math.max(height, width) * (corner ? 0.2 : 1);
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const size = this.host.querySelector("[data-size]");
      const does = {
        " ": () => this.set(), Enter: () => this.close(), Backspace: () => this.act("undo"),
        Escape: () => {
          if (this.begun.length) this.change(() => { this.begun = []; });
          Object.assign(this, { grip: null, isPicked: false });
        },
        Delete: () => this.dropCorner(), PageDown: () => this.act("next"), PageUp: () => this.act("previous"),
        n: () => this.act(event.shiftKey ? "previous" : "next"),
        p: () => this.choose("polygon"), b: () => this.choose("brush"), s: () => this.choose("smart"),
        m: () => this.choose("move"), e: () => this.act("erase"), r: () => this.act("repeat"), a: () => this.act("accept"),
        "+": () => this.act("nearer"), "-": () => this.act("further"), 0: () => this.act("fit"),
        "[": () => { size.value = Number(size.value) - 5; }, "]": () => { size.value = Number(size.value) + 5; },
      };
      if (event.ctrlKey || event.metaKey) {
        if (key === "z") this.act(event.shiftKey ? "redo" : "undo");
        else if (key === "y") this.act("redo");
        else return;
      } else if (moves[key] && corner) {
        const by = moves[key];
        this.change(() => {
          this.shapes = this.withCorners(corner.index, (points) => points.map((old, at) => (at === corner.corner
            ? [this.round(old[0] + by[0]), this.round(old[1] + by[1])] : old)));
        });
      } else if (moves[key]) {
        const [x, y] = this.cross || [width / 2, height / 2], [right, down] = moves[key];
        this.cross = [this.round(Math.min(width, Math.max(0, x + right))), this.round(Math.min(height, Math.max(0, y + down)))];
      } else if (does[key]) does[key]();
      else return;
      event.preventDefault();
      this.paint();
    },

    // Space: set a corner or take up one that is there, paint, or find the outline of what lies under the cross.
    set() {
      this.cross = this.cross || [this.size[1] / 2, this.size[0] / 2];
      const grip = this.begun.length ? null : this.gripAt(this.cross);
      if (this.tool === "brush") this.add(this.brush(this.cross));
      else if (this.tool === "smart") this.outline([this.cross]);
      else if (grip?.corner !== undefined) Object.assign(this, { grip, isPicked: true });
      else if (this.tool === "polygon") this.corner(this.cross);
    },

    clicked(event) {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.tool) this.choose(button.dataset.tool);
      else if (button.dataset.key) this.open(button.dataset.key);
      else if (button.dataset.do) this.act(button.dataset.do);
      // The keys go on working. A press by keyboard has no detail, and stays where it was.
      if (event.detail && !button.dataset.do?.startsWith("page")) this.canvas.focus({ preventScroll: true });
    },

    choose(tool) {
      Object.assign(this, { tool, grip: null, isPicked: false });
      for (const button of this.host.querySelectorAll("[data-tool]"))
        button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
      this.canvas.style.cursor = tool === "move" ? "grab" : "crosshair";
      this.paint();
    },

    act(what) {
      const does = {
        undo: () => this.travel(this.past, this.future), redo: () => this.travel(this.future, this.past),
        clear: () => this.change(() => Object.assign(this, { shapes: [], begun: [] })),
        close: () => this.close(), "drop-corner": () => this.dropCorner(), repeat: () => this.repeat(),
        previous: () => this.step(-1), next: () => this.step(1),
        nearer: () => this.zoom(1.5), further: () => this.zoom(1 / 1.5), fit: () => this.fit(),
        accept: () => { if (this.source === "proposed") this.accept(false); }, "accept-all": () => this.accept(true),
        "page-back": () => { if (this.page > 0) this.turnTo(this.page - 1); },
        "page-on": () => { if (this.page + 1 < this.pages) this.turnTo(this.page + 1); },
        share: () => this.share(),
        erase: () => {
          this.erase = !this.erase;
          this.host.querySelector('[data-do="erase"]').setAttribute("aria-pressed", String(this.erase));
        },
      };
      does[what]();
    },
  });
})();
