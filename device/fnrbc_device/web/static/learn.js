// How far the calibration is; the page is read again at its end.

const EVERY_MS = 700;
const shown = document.getElementById("calibrated");

async function follow() {
  try {
    const answer = await fetch("/learn/calibration", { signal: AbortSignal.timeout(5000) });
    const found = await answer.json();
    if (found.state !== "running") return location.reload();
    shown.max = found.of;
    shown.value = found.done;
  } catch {
    // The appliance may be busy: it is asked again.
  }
  setTimeout(follow, EVERY_MS);
}

follow();
