// The outlines of cells: each kind is told by its shape as well as by its colour, in the picture and in the legend.

const COLOURS = { target: "#b5380b", denominator: "#00508a", ignored: "#3c3c3c", indeterminate: "#7a4b00", open: "#3c3c3c" };

// Outlines lie on a smear that is light in places and dark in others: each has a white casing.
function cased(pen, colour, width, draw) {
  for (const [stroke, wide] of [["#ffffff", width + 2.5], [colour, width]]) {
    pen.strokeStyle = stroke;
    pen.lineWidth = wide;
    pen.beginPath();
    draw();
    pen.stroke();
  }
}

function circle(pen, x, y, radius) {
  pen.moveTo(x + radius, y);
  pen.arc(x, y, radius, 0, 2 * Math.PI);
}

const SHAPES = {
  // Double ring, the outer one thick.
  target(pen, x, y, radius, unit) {
    cased(pen, COLOURS.target, 4 * unit, () => circle(pen, x, y, radius + 5 * unit));
    cased(pen, COLOURS.target, 1.6 * unit, () => circle(pen, x, y, radius - 1.5 * unit));
  },
  // One thin circle.
  denominator(pen, x, y, radius, unit) {
    cased(pen, COLOURS.denominator, 2 * unit, () => circle(pen, x, y, radius));
  },
  // A dotted square.
  ignored(pen, x, y, radius, unit) {
    const half = 0.85 * radius;
    pen.setLineDash([2 * unit, 3 * unit]);
    cased(pen, COLOURS.ignored, 2 * unit, () => pen.rect(x - half, y - half, 2 * half, 2 * half));
    pen.setLineDash([]);
  },
  // A dashed ring; its question mark is drawn with the labels.
  indeterminate(pen, x, y, radius, unit) {
    pen.setLineDash([8 * unit, 5 * unit]);
    cased(pen, COLOURS.indeterminate, 3 * unit, () => circle(pen, x, y, radius + 1 * unit));
    pen.setLineDash([]);
  },
  // Four ticks, as a sight.
  open(pen, x, y, radius, unit) {
    const tick = 6 * unit;
    cased(pen, COLOURS.open, 1.5 * unit, () => {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(x + dx * radius, y + dy * radius);
        pen.lineTo(x + dx * (radius + tick), y + dy * (radius + tick));
      }
    });
  },
};

const LABELS = { target: "fNRBC", indeterminate: "?" };

function label(pen, text, x, y, colour, unit) {
  pen.font = `700 ${Math.round(14 * unit)}px system-ui, "DejaVu Sans", sans-serif`;
  const width = pen.measureText(text).width + 10 * unit;
  const height = 19 * unit;
  pen.fillStyle = colour;
  pen.beginPath();
  pen.roundRect(x - width / 2, y - height / 2, width, height, 4 * unit);
  pen.fill();
  pen.fillStyle = "#ffffff";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(text, x, y + 1);
}

// Draws the outline of one cell. A unit is the width of the thinnest line, in the canvas' own pixels.
export function drawGlyph(pen, role, x, y, radius, unit) {
  (SHAPES[role] ?? SHAPES.open)(pen, x, y, radius, unit);
}

// Draws the label of one cell above it, or below it where it would be cut off.
export function drawLabel(pen, role, x, y, radius, unit, bounds) {
  const text = LABELS[role];
  if (!text) return;
  const away = radius + 19 * unit;
  const up = y - away - 10 * unit > bounds.top;
  const inside = Math.min(Math.max(x, bounds.left + 34 * unit), bounds.right - 34 * unit);
  label(pen, text, inside, up ? y - away : y + away, COLOURS[role], unit);
}

// Fills a square canvas of the legend.
export function drawLegend(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const side = canvas.clientWidth * ratio;
  canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d");
  const role = canvas.dataset.role;
  const unit = side / 40;
  const radius = { target: 11, denominator: 13, ignored: 13, indeterminate: 14, open: 9 }[role] * unit;
  drawGlyph(pen, role, side / 2, side / 2, radius, unit);
  if (role === "indeterminate") {
    pen.font = `700 ${Math.round(20 * unit)}px system-ui, "DejaVu Sans", sans-serif`;
    pen.fillStyle = COLOURS.indeterminate;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText("?", side / 2, side / 2 + unit);
  }
}
