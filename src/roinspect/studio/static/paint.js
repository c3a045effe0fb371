// How the board looks: what is inspected stays bright, the rest is dark.
(() => {
  "use strict";
  const { TINT, DIM, LINE, HALO, SOURCES } = window.roinspect.look;

  Object.assign(window.roinspect.Board.prototype, {
    fit() {
      if (!this.photo) return;
      // A small photograph is drawn on at a finer grid than its own, or its outlines would be stairs.
      const { width, height } = this.photo;
      const finer = Math.max(1, Math.min(8, Math.round(900 / Math.max(width, height))));
      for (const layer of [this.canvas, this.mask, this.veil]) {
        Object.assign(layer, { width: width * finer, height: height * finer });
      }
      const zoom = Number(this.host.querySelector("[data-zoom]").value);
      const stage = this.host.querySelector(".stage");
      const tallest = Math.max(260, window.innerHeight * 0.62);
      const ratio = this.canvas.width / this.canvas.height;
      this.canvas.style.width = `${zoom * Math.min(stage.clientWidth, tallest * ratio)}px`;
      this.host.querySelector(".name").textContent = this.key;
      this.paint();
    },

    paint() {
      if (!this.photo) return;
      const { context, canvas } = this;
      const scale = canvas.width / this.size[1];
      this.markMask(scale);
      context.imageSmoothingEnabled = true;
      context.drawImage(this.photo, 0, 0, canvas.width, canvas.height);
      const veil = this.veil.getContext("2d");
      const cover = (colour, how) => {
        veil.globalCompositeOperation = "copy";
        veil.fillStyle = colour;
        veil.fillRect(0, 0, canvas.width, canvas.height);
        veil.globalCompositeOperation = how;
        veil.drawImage(this.mask, 0, 0);
        context.drawImage(this.veil, 0, 0);
      };
      if (this.shapes.length || this.stroke) {
        cover(DIM, "destination-out");
        cover(TINT, "destination-in");
      }
      this.drawBegun(scale);
      if (this.tool === "brush" && this.hover && !this.cross) this.ring(this.hover, scale);
      if (this.cross) this.drawCross(scale);
      this.host.querySelector('[data-do="close"]').disabled = this.begun.length < 3;
    },

    markMask(scale) {
      const pen = this.mask.getContext("2d");
      pen.clearRect(0, 0, this.mask.width, this.mask.height);
      pen.lineJoin = pen.lineCap = "round";
      for (const shape of this.stroke ? [...this.shapes, this.stroke] : this.shapes) {
        pen.globalCompositeOperation = shape.erase ? "destination-out" : "source-over";
        pen.beginPath();
        for (const [x, y] of shape.points) pen.lineTo(x * scale, y * scale);
        if (shape.kind === "polygon") {
          pen.closePath();
          pen.fill("evenodd");
          continue;
        }
        const [x, y] = shape.points[0];
        if (shape.points.length === 1) pen.lineTo(x * scale + 0.01, y * scale);
        pen.lineWidth = Math.max(1, 2 * shape.radius * scale);
        pen.stroke();
      }
    },

    drawBegun(scale) {
      if (!this.begun.length) return;
      const next = this.cross || this.hover;
      this.line(() => {
        for (const [x, y] of next ? [...this.begun, next] : this.begun) this.context.lineTo(x * scale, y * scale);
      });
      this.context.fillStyle = LINE;
      this.begun.forEach(([x, y], index) => {
        const dot = () => this.context.arc(x * scale, y * scale, (index ? 4 : 7) * this.fine(), 0, 2 * Math.PI);
        this.line(dot, 0);
        this.context.fill();
      });
    },

    // Canvas pixels in one pixel of the screen.
    fine() { return this.canvas.width / (this.canvas.getBoundingClientRect().width || this.canvas.width); },

    // A path in yellow with a dark rim, so that it shows on any photograph.
    line(trace, inner = 2) {
      for (const [colour, width] of inner ? [[HALO, inner + 2.5], [LINE, inner]] : [[HALO, 4]]) {
        this.context.beginPath();
        trace();
        this.context.strokeStyle = colour;
        this.context.lineWidth = width * this.fine();
        this.context.stroke();
      }
    },

    ring([x, y], scale) {
      this.line(() => this.context.arc(x * scale, y * scale, Math.max(2, this.radius() * scale), 0, 2 * Math.PI));
    },

    drawCross(scale) {
      const [x, y] = this.cross.map((side) => side * scale), arm = 14 * this.fine();
      this.line(() => {
        this.context.moveTo(x - arm, y);
        this.context.lineTo(x + arm, y);
        this.context.moveTo(x, y - arm);
        this.context.lineTo(x, y + arm);
      });
      if (this.tool === "brush") this.ring(this.cross, scale);
    },

    strip() {
      const strip = this.host.querySelector(".strip");
      const focused = strip.contains(document.activeElement) && document.activeElement.dataset.key;
      const add = (parent, tag, properties) => parent.appendChild(Object.assign(document.createElement(tag), properties));
      strip.replaceChildren();
      for (const { key, source, confidence } of this.list) {
        const button = add(add(strip, "div", { role: "listitem" }), "button", { type: "button" });
        button.dataset.key = key;
        if (key === this.key) button.setAttribute("aria-current", "true");
        const state = source === "own" ? this.versions.get(key) || "own" : source;
        const region = source === "none" ? {} : { region_of: `${state} ${this.looked}` };
        const src = `/studio/thumbnail?${new URLSearchParams({ project: this.project, key, ...region })}`;
        add(button, "img", { loading: "lazy", alt: "", src });
        add(button, "span", { textContent: key });
        const sure = source !== "proposed" ? "" : `, ${Math.round(100 * confidence)} % sure`;
        add(button, "span", { className: `state ${source}`, textContent: SOURCES[source] + sure });
      }
      if (focused) strip.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
      const at = this.list.findIndex((photograph) => photograph.key === this.key);
      this.host.querySelector('[data-do="previous"]').disabled = this.page === 0 && at <= 0;
      this.host.querySelector('[data-do="next"]').disabled = this.page + 1 >= this.pages && at === this.list.length - 1;
    },
  });

  window.roinspect.draw = (element) => {
    const host = element.querySelector(".board");
    if (host) window.roinspect.board = new window.roinspect.Board(host);
  };
  window.addEventListener("resize", () => window.roinspect.board && window.roinspect.board.fit());
})();
