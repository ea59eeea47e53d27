// The map: ground seen, the path, the field in view, gaps left out, and the islands whose place is not known.

import { decode, fitted } from "./canvas.js";
import { _, decimal, ngettext } from "./words.js";

const at = (id) => document.getElementById(id);

let map = null; // the last map event, with its picture decoded

export async function takeMap(fields) {
  const before = map;
  map = { ...fields, bitmap: await decode(fields.png, "image/png") };
  before?.bitmap.close();
  showOthers(fields.others, fields.islands);
  const gaps = ngettext("%(count)s gap", "%(count)s gaps", fields.gaps);
  at("gaps").textContent = fields.gaps ? _("%(gaps)s inside, %(area)s mm² not seen", { gaps, area: decimal(fields.gaps_mm2, 3) }) : "";
  at("map-full").hidden = !fields.full;
}

// No session: what was seen of the last slide is not on this one.
export function clearMap() {
  if (!map) return;
  map.bitmap.close();
  map = null;
  showOthers([], 1);
  at("gaps").textContent = "";
  fitted(at("map"));
}

// Draws the map; the place is that of the field in view, where it is known.
export function drawMap(place) {
  const { pen, width, height, ratio } = fitted(at("map"));
  if (!map) return;
  const here = place?.island === map.island ? place : null;
  const box = covering(here);
  const scale = 0.96 * Math.min(width / box.width, height / box.height);
  const x = (um) => width / 2 + (um - box.left - box.width / 2) * scale;
  const y = (um) => height / 2 + (um - box.top - box.height / 2) * scale;
  const [row, col] = map.origin_rc_um;
  pen.drawImage(map.bitmap, x(col), y(row), map.width * map.um_per_px * scale, map.height * map.um_per_px * scale);
  if (here) drawPlace(pen, x, y, scale, ratio, here);
  drawPath(pen, x, y, ratio);
  drawScaleBar(pen, height, scale, ratio);
}

// Islands that are not joined: their place on the slide is not known, so each stands apart in a dashed frame.
function showOthers(others, islands) {
  const left = islands - 1 - others.length;
  at("others").hidden = !others.length;
  at("others").replaceChildren(...others.map(({ island, png }) => {
    const figure = document.createElement("figure");
    const picture = document.createElement("img");
    picture.src = `data:image/png;base64,${png}`;
    picture.alt = "";
    const caption = document.createElement("figcaption");
    caption.textContent = _("Island %(number)s", { number: island + 1 });
    figure.append(picture, caption);
    return figure;
  }), ...(left > 0 ? [document.createTextNode(_("and %(count)s more", { count: left }))] : []));
}

// What the map must show, um: the picture of a second ago, and the field now, which may lie beyond it.
function covering(place) {
  let [top, left] = map.origin_rc_um;
  let [bottom, right] = [top + map.height * map.um_per_px, left + map.width * map.um_per_px];
  if (place) {
    const [row, col] = place.corner_rc_um;
    [top, left] = [Math.min(top, row), Math.min(left, col)];
    [bottom, right] = [Math.max(bottom, row + place.size_rc_um[0]), Math.max(right, col + place.size_rc_um[1])];
  }
  return { top, left, width: right - left, height: bottom - top };
}

// Steps between fields that overlap are drawn through, steps over ground that was not seen are dashed.
function drawPath(pen, x, y, ratio) {
  const points = map.path_rc_um;
  const broken = new Set(map.broken_after);
  const stroke = (dashed, colour, width, dash) => {
    pen.strokeStyle = colour;
    pen.lineWidth = width * ratio;
    pen.lineJoin = "round";
    pen.setLineDash(dash.map((one) => one * ratio));
    pen.beginPath();
    for (let i = 1; i < points.length; i += 1) {
      if (broken.has(i - 1) !== dashed) continue;
      pen.moveTo(x(points[i - 1][1]), y(points[i - 1][0]));
      pen.lineTo(x(points[i][1]), y(points[i][0]));
    }
    pen.stroke();
    pen.setLineDash([]);
  };
  stroke(true, "#ffffff", 1.5, [3, 5]);
  stroke(false, "#ffffff", 3, []);
  stroke(false, "#00508a", 1.5, []);
}

function drawPlace(pen, x, y, scale, ratio, place) {
  const [row, col] = place.corner_rc_um;
  const [height, width] = place.size_rc_um;
  // The map is up to a second old: what is in view now may not be on it yet.
  pen.drawImage(at("picture"), x(col), y(row), width * scale, height * scale);
  for (const [colour, wide] of [["#ffffff", 5], ["#b5380b", 3]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = wide * ratio;
    pen.strokeRect(x(col), y(row), width * scale, height * scale);
  }
}

function drawScaleBar(pen, height, scale, ratio) {
  const aim = (70 * ratio) / scale;
  const power = 10 ** Math.floor(Math.log10(aim));
  const um = power * [5, 2, 1].find((step) => step * power <= aim);
  const text = um >= 1000 ? `${um / 1000} mm` : `${um} \u00b5m`;
  pen.font = `600 ${12 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
  const long = um * scale;
  pen.fillStyle = "rgb(17 22 27 / 85%)";
  pen.fillRect(6 * ratio, height - 28 * ratio, Math.max(long, pen.measureText(text).width) + 12 * ratio, 22 * ratio);
  pen.fillStyle = "#ffffff";
  pen.fillText(text, 12 * ratio, height - 15 * ratio);
  pen.fillRect(12 * ratio, height - 11 * ratio, long, 2.5 * ratio);
}
