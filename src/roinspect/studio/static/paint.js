// How the board looks: what is inspected stays bright, the rest is dark.
(() => {
  "use strict";
  const { TINT, DIM, LINE, HALO, SOURCES } = window.roinspect.look;

  Object.assign(window.roinspect.Board.prototype, {
    fit() {
      if (!this.photo) return;
      // A small photograph is drawn on at a finer grid than its own, or its outlines would be stairs.
      const { naturalWidth, naturalHeight } = this.photo;
      const finer = Math.max(1, Math.min(8, Math.round(900 / Math.max(naturalWidth, naturalHeight))));
      for (const layer of [this.canvas, this.mask, this.veil]) {
        layer.width = this.photo.naturalWidth * finer;
        layer.height = this.photo.naturalHeight * finer;
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
        veil.globalCompositeOperation = "source-over";
        veil.clearRect(0, 0, canvas.width, canvas.height);
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
      if (this.tool === "brush" && this.hover && !this.cross) this.ring(this.hover, this.radius(), scale);
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
      const points = next ? [...this.begun, next] : this.begun;
      for (const [colour, width] of [[HALO, 5], [LINE, 2.5]]) {
        this.context.strokeStyle = colour;
        this.context.lineWidth = width * this.fine();
        this.context.beginPath();
        for (const [x, y] of points) this.context.lineTo(x * scale, y * scale);
        this.context.stroke();
      }
      this.begun.forEach(([x, y], index) => {
        this.context.beginPath();
        this.context.arc(x * scale, y * scale, (index ? 4 : 7) * this.fine(), 0, 2 * Math.PI);
        this.context.fillStyle = LINE;
        this.context.strokeStyle = HALO;
        this.context.lineWidth = 2 * this.fine();
        this.context.fill();
        this.context.stroke();
      });
    },

    // Canvas pixels in one pixel of the screen.
    fine() { return this.canvas.width / (this.canvas.getBoundingClientRect().width || this.canvas.width); },

    ring([x, y], radius, scale) {
      for (const [colour, width] of [[HALO, 4], [LINE, 2]]) {
        this.context.beginPath();
        this.context.arc(x * scale, y * scale, Math.max(2, radius * scale), 0, 2 * Math.PI);
        this.context.strokeStyle = colour;
        this.context.lineWidth = width * this.fine();
        this.context.stroke();
      }
    },

    drawCross(scale) {
      const [x, y] = this.cross.map((one) => one * scale), arm = 14 * this.fine();
      for (const [colour, width] of [[HALO, 5], [LINE, 2]]) {
        this.context.beginPath();
        this.context.moveTo(x - arm, y);
        this.context.lineTo(x + arm, y);
        this.context.moveTo(x, y - arm);
        this.context.lineTo(x, y + arm);
        this.context.strokeStyle = colour;
        this.context.lineWidth = width * this.fine();
        this.context.stroke();
      }
      if (this.tool === "brush") this.ring(this.cross, this.radius(), scale);
    },

    strip() {
      const strip = this.host.querySelector(".strip");
      const hadFocus = strip.contains(document.activeElement) && document.activeElement.dataset.key;
      strip.replaceChildren(...this.list.map((photograph) => {
        const item = document.createElement("div");
        item.role = "listitem";
        const button = document.createElement("button");
        button.type = "button";
        button.dataset.key = photograph.key;
        if (photograph.key === this.key) button.setAttribute("aria-current", "true");
        const picture = document.createElement("img");
        picture.loading = "lazy";
        picture.alt = "";
        const state_of = photograph.source === "own" ? this.revisions.get(photograph.key) || "own" : photograph.source;
        const region = photograph.source === "none" ? {} : { region_of: `${state_of} ${this.looked}` };
        picture.src = `/studio/thumbnail?${new URLSearchParams({ project: this.project, key: photograph.key, ...region })}`;
        const name = document.createElement("span");
        name.textContent = photograph.key;
        const state = document.createElement("span");
        state.className = `state ${photograph.source}`;
        const sure = photograph.confidence === undefined ? "" : `, ${Math.round(100 * photograph.confidence)} % sure`;
        state.textContent = SOURCES[photograph.source] + sure;
        button.append(picture, name, state);
        item.append(button);
        return item;
      }));
      if (hadFocus) strip.querySelector(`[data-key="${CSS.escape(hadFocus)}"]`)?.focus();
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
