// Where a candidate lies on the slide: all cells of its island as dots, and a ring round this one.

import { answer, session } from "./review_words.js";
import { _ } from "./words.js";

const MAX_DOTS = 3000;
const LOOK_MS = 10000; // so long a look at the places is good

export class Slide {
  // named: the session, as the appliance is asked for it; changed: told when there is more to be seen
  constructor(named, changed) {
    this.named = named;
    this.changed = changed;
    this.places = [];
    this.mosaics = []; // how islands looked, each with its picture; none where that was not kept
    this.looking = false;
  }

  // Where the cells lie. A help, not the matter: what fails now, the next look has.
  async look() {
    if (this.looking) return;
    this.looking = true;
    this.places = (await answer(`/review/places?${this.named}`))?.places ?? this.places;
    this.changed();
    setTimeout(() => { this.looking = false; }, LOOK_MS);
  }

  // How the slide looked, once its session has ended.
  async lookAtMosaics() {
    const found = (await answer(`/review/mosaics?${this.named}`))?.mosaics ?? [];
    this.mosaics = found.map((one) => ({ ...one, picture: Object.assign(new Image(), { src: `/review/mosaic/${encodeURIComponent(session)}/${one.island}.jpg` }) }));
    for (const one of this.mosaics) one.picture.addEventListener("load", this.changed);
  }

  draw(canvas, cell) {
    drawPlace(canvas, this.places, cell, this.mosaics);
  }
}

function drawPlace(canvas, places, cell, mosaics) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  canvas.setAttribute("aria-label", _("Place on the slide: %(x)s by %(y)s µm, island %(island)s", { x: Math.round(cell.x_um), y: Math.round(cell.y_um), island: cell.island }));
  const here = places.filter(([island]) => island === cell.island);
  const [xs, ys] = [1, 2].map((axis) => [...corners(mosaics, cell.island, axis), ...here.map((one) => one[axis]), axis === 1 ? cell.x_um : cell.y_um]);
  const [left, right] = [xs.reduce((a, b) => Math.min(a, b)), xs.reduce((a, b) => Math.max(a, b))];
  const [top, bottom] = [ys.reduce((a, b) => Math.min(a, b)), ys.reduce((a, b) => Math.max(a, b))];
  const margin = 16 * ratio;
  const scale = Math.min((width - 2 * margin) / Math.max(right - left, 100), (height - 2 * margin) / Math.max(bottom - top, 100));
  const x = (um) => width / 2 + (um - (left + right) / 2) * scale;
  const y = (um) => height / 2 + (um - (top + bottom) / 2) * scale;
  const mosaic = mosaics.find((one) => one.island === cell.island && one.picture.complete && one.picture.naturalWidth);
  if (mosaic) {
    const { picture, um_per_px, left_um, top_um } = mosaic;
    pen.drawImage(picture, x(left_um), y(top_um), picture.naturalWidth * um_per_px * scale, picture.naturalHeight * um_per_px * scale);
  }
  pen.fillStyle = mosaic ? "#274b6d" : "#b4bfc8";
  for (const [, across, down] of here.slice(0, MAX_DOTS)) pen.fillRect(x(across) - ratio, y(down) - ratio, 2 * ratio, 2 * ratio);
  for (const [colour, wide] of [["#11161b", 6], ["#ff9d6e", 3]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = wide * ratio;
    pen.beginPath();
    pen.arc(x(cell.x_um), y(cell.y_um), 8 * ratio, 0, 2 * Math.PI);
    pen.stroke();
  }
}

// The two ends of an island's mosaic along an axis, so that all of it is in view.
function corners(mosaics, island, axis) {
  const one = mosaics.find((mosaic) => mosaic.island === island && mosaic.picture.naturalWidth);
  if (!one) return [];
  const start = axis === 1 ? one.left_um : one.top_um;
  const length = axis === 1 ? one.picture.naturalWidth : one.picture.naturalHeight;
  return [start, start + length * one.um_per_px];
}
