// How the board looks: what is inspected stays bright, the rest is dark.
(() => {
  "use strict";
  const { TINT, DIM, LINE, HALO, SOURCES } = window.roinspect.look;

  Object.assign(window.roinspect.Board.prototype, {
    fitting() { return Math.min(this.canvas.clientWidth / this.size[1], this.canvas.clientHeight / this.size[0]); },

    // All of the photograph, on a canvas of the screen's own pixels: outlines are sharp at any zoom.
    fit() {
      if (!this.photo) return;
      const stage = this.host.querySelector(".stage"), shape = this.size[0] / this.size[1];
      stage.style.height = `${Math.max(260, Math.min(0.66 * window.innerHeight, shape * stage.clientWidth))}px`;
      const { clientWidth, clientHeight } = this.canvas, ratio = window.devicePixelRatio;
      for (const layer of [this.canvas, this.mask, this.veil]) {
        Object.assign(layer, { width: Math.round(clientWidth * ratio), height: Math.round(clientHeight * ratio) });
      }
      this.host.querySelector(".name").textContent = this.key;
      this.detail = null;
      this.show(this.fitting(), 0, 0);
    },

    paint() {
      if (!this.photo) return;
      const { context, canvas, detail, size: [height, width] } = this;
      this.markMask();
      context.reset();
      this.inPhoto(context);
      context.imageSmoothingQuality = "high";
      context.drawImage(this.photo, 0, 0, width, height);
      if (detail) context.drawImage(detail.image, detail.left, detail.top, detail.width, detail.height);
      context.setTransform(1, 0, 0, 1, 0, 0);
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
      // Lines and dots are of one width at any zoom.
      context.scale(window.devicePixelRatio, window.devicePixelRatio);
      this.drawBegun();
      this.drawGrip();
      if (this.box) {
        const [[x, y], [right, bottom]] = this.box.map((corner) => this.toCanvas(corner));
        this.line(() => context.rect(x, y, right - x, bottom - y));
      }
      if (this.tool === "brush" && this.hover && !this.cross) this.ring(this.hover);
      if (this.cross) this.drawCross();
      this.drawSmallest();
      this.host.querySelector('[data-do="close"]').disabled = this.begun.length < 3;
      this.host.querySelector('[data-do="drop-corner"]').disabled = this.grip?.corner === undefined;
      this.host.querySelector('[data-do="accept"]').hidden = this.source !== "proposed";
    },

    // Draw in pixels of the photograph.
    inPhoto(pen) {
      const ratio = window.devicePixelRatio, { scale, x, y } = this.view;
      pen.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    },

    markMask() {
      const pen = this.mask.getContext("2d", { willReadFrequently: true });
      pen.reset();
      this.inPhoto(pen);
      pen.lineJoin = pen.lineCap = "round";
      for (const shape of this.stroke ? [...this.shapes, this.stroke] : this.shapes) {
        pen.globalCompositeOperation = shape.erase ? "destination-out" : "source-over";
        pen.beginPath();
        for (const [x, y] of shape.points) pen.lineTo(x, y);
        if (shape.kind === "polygon") {
          pen.closePath();
          pen.fill("evenodd");
          continue;
        }
        const [x, y] = shape.points[0];
        if (shape.points.length === 1) pen.lineTo(x + 0.01, y);
        pen.lineWidth = 2 * shape.radius;
        pen.stroke();
      }
    },

    drawBegun() {
      if (!this.begun.length) return;
      const next = this.cross || this.hover;
      this.path(next ? [...this.begun, next] : this.begun);
      this.begun.forEach((corner, index) => this.dot(corner, index ? 4 : 7));
    },

    // The polygon that is near: its corners can be dragged, and its sides, for a new corner.
    drawGrip() {
      const { index, corner } = this.grip || {};
      const shape = this.shapes[index];
      if (!shape || this.drag?.isStill === false) return;
      this.path([...shape.points, shape.points[0]]);
      shape.points.forEach((point, at) => this.dot(point, at === corner ? 7 : 4));
    },

    path(points) {
      this.line(() => { for (const point of points) this.context.lineTo(...this.toCanvas(point)); });
    },

    dot(point, radius) {
      const [x, y] = this.toCanvas(point);
      this.line(() => this.context.arc(x, y, radius, 0, 2 * Math.PI), 0);
      this.context.fillStyle = LINE;
      this.context.fill();
    },

    // A path in yellow with a dark rim, so that it shows on any photograph.
    line(trace, inner = 2) {
      for (const [colour, width] of inner ? [[HALO, inner + 2.5], [LINE, inner]] : [[HALO, 4]]) {
        this.context.beginPath();
        trace();
        this.context.strokeStyle = colour;
        this.context.lineWidth = width;
        this.context.stroke();
      }
    },

    ring(point) {
      const [x, y] = this.toCanvas(point);
      this.line(() => this.context.arc(x, y, Math.max(2, this.radius() * this.view.scale), 0, 2 * Math.PI));
    },

    drawCross() {
      const [x, y] = this.toCanvas(this.cross), arm = 14;
      this.line(() => {
        this.context.moveTo(x - arm, y);
        this.context.lineTo(x + arm, y);
        this.context.moveTo(x, y - arm);
        this.context.lineTo(x, y + arm);
      });
      if (this.tool === "brush") this.ring(this.cross);
    },

    // How small a defect may be and still be found, as a square in the corner of what is in view.
    drawSmallest() {
      const detail = this.host.querySelector("[data-smallest]").value;
      const width = this.smallest[detail], words = this.host.querySelector(".smallest");
      words.textContent = width ? `from about ${Math.ceil(width)} pixels: the yellow square` : "";
      if (!width) return;
      const side = width * this.view.scale, edge = 14;
      const left = Math.max(0, this.view.x) + edge;
      const bottom = Math.min(this.canvas.clientHeight, this.view.y + this.size[0] * this.view.scale) - edge;
      this.line(() => this.context.rect(left, bottom - side, side, side), 1.5);
    },

    strip() {
      const strip = this.host.querySelector(".strip");
      const focused = strip.contains(document.activeElement) && document.activeElement.dataset.key;
      const add = (parent, tag, properties) => parent.appendChild(Object.assign(document.createElement(tag), properties));
      const { scrollLeft, scrollTop } = strip;
      strip.replaceChildren();
      for (const { key, source, is_doubtful: isDoubtful } of this.list) {
        const button = add(add(strip, "div", { role: "listitem" }), "button", { type: "button" });
        button.dataset.key = key;
        if (key === this.key) button.setAttribute("aria-current", "true");
        const state = source === "own" ? this.versions.get(key) || "own" : source;
        const region = source === "none" ? {} : { region_of: `${state} ${this.looked}` };
        const src = `/studio/thumbnail?${new URLSearchParams({ project: this.project, key, ...region })}`;
        add(button, "img", { loading: "lazy", alt: "", src });
        add(button, "span", { textContent: key });
        const words = source === "proposed" && isDoubtful ? "proposed: look closely" : SOURCES[source];
        add(button, "span", { className: `state ${source}`, textContent: words });
      }
      strip.scrollTo(scrollLeft, scrollTop);
      const box = strip.getBoundingClientRect(), current = strip.querySelector("[aria-current]")?.getBoundingClientRect();
      if (current && (current.bottom > box.bottom || current.top < box.top)) strip.scrollTop += current.top - box.top - 4;
      if (current && (current.right > box.right || current.left < box.left)) strip.scrollLeft += current.left - box.left - 4;
      if (focused) strip.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
      const at = this.list.findIndex((photograph) => photograph.key === this.key);
      this.host.querySelector('[data-do="previous"]').disabled = this.page === 0 && at <= 0;
      this.host.querySelector('[data-do="accept-all"]').hidden = !this.list.some(({ source }) => source === "proposed");
      this.host.querySelector('[data-do="next"]').disabled = this.page + 1 >= this.pages && at === this.list.length - 1;
    },
  });

  window.roinspect.draw = (element) => {
    const host = element.querySelector(".board");
    if (host) window.roinspect.board = new window.roinspect.Board(host);
  };
  window.addEventListener("resize", () => window.roinspect.board?.fit());
})();
