"use strict";
/* Meters of the host beside the GPUs' own, each by itself, and the whole node by parts. */

const ENERGY_OF = { ac: "node, at the mains", dc: "node, behind its supplies", cpu: "CPUs", memory: "memory", module: "superchip", device: "device" };
const PARTS = { gpu: "GPUs", cpu: "CPUs", memory: "memory", rest: "rest" };
let hostTable = null;

function meterColumns() {
  const rejected = one => total(Object.values(one.rejected)), reasons = one => Object.entries(one.rejected).map(([why, n]) => `${why} ${n}`).join(", ");
  return [
    { title: "Meter", cell: one => lines(`${one.source}/${one.domain}`, one.part_of && `part of ${one.part_of}`), value: one => `${one.source}/${one.domain}` },
    { title: "Energy of", cell: one => ENERGY_OF[one.boundary] ?? UNKNOWN, value: one => one.boundary },
    { title: "Power", cell: one => quantity(one.power_w, "W"), value: one => one.power_w, kind: "n" },
    { title: "Energy", cell: one => energyCell(one.energy_j, one.sigma_j), value: one => one.energy_j, kind: "n" },
    { title: "Gaps", cell: one => hours(one.gap_s), value: one => one.gap_s, kind: "n" },
    { title: "Rejected", cell: one => lines(String(rejected(one)), reasons(one)), value: rejected, kind: "n" },
    { title: "Remarks", cell: one => one.flags.join(", ").replaceAll("-", " ") || "none", value: one => one.flags.length },
  ];
}

function nodeText(node) {
  const parts = Object.entries(node.parts_j).map(([part, joules]) => `${PARTS[part] ?? part} ${wattHours(joules)}${doubt(node.sigma_j[part]) && ` ${doubt(node.sigma_j[part])}`}`);
  const debt = node.debt_j > 0 ? `; the parts are ${wattHours(node.debt_j)} above the meter at the moment` : "";
  const doubted = node.flags.includes("parts-above-meter") ? ` GPUs, CPUs and memory are ${percent(node.disagreement.parts)} above the meter: it, or one of theirs, is wrong.` : "";
  return `Node by ${node.meter}: ${wattHours(node.energy_j)} in ${hours(node.covered_s)} = ${parts.join(" + ")}${debt}.${doubted}`;
}

function drawHost(snapshot) {
  $("meters").hidden = !snapshot.host_energy.length;
  if ($("meters").hidden) return;
  hostTable ??= new Table($("host-meters"), meterColumns());
  hostTable.show(snapshot.host_energy);
  $("node").textContent = snapshot.node ? nodeText(snapshot.node) : "No meter of the whole node is read.";
}
