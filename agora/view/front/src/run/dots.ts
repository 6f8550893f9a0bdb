// Messages that move: from who was read to who reads it, along the line between them.

import { along, curve, type Line, type Picture } from "./geometry";

export interface Reading { id: number; reader: number; read: number[] } // `id` of its event: each is set out once

const MOST = 240; // dots under way at once
const LONG = 650; // milliseconds that a message takes

interface Dot { element: SVGCircleElement; bow: ReturnType<typeof curve>; back: boolean; began: number }

export class Dots {
  private dots: Dot[] = [];
  private frame = 0;

  constructor(private readonly layer: SVGGElement) {}

  send(readings: readonly Reading[], find: (read: number, reader: number) => Line, picture: Picture): void {
    const began = performance.now();
    for (const { reader, read } of readings) {
      // of a thousand that are read some stand for all
      const every = Math.ceil(read.length / 40);
      for (let k = 0; k < read.length; k += every) {
        if (this.dots.length >= MOST) break;
        const line = find(read[k]!, reader);
        if (picture.points[line.u] === undefined || picture.points[line.v] === undefined) continue;
        const element = document.createElementNS("http://www.w3.org/2000/svg", "circle");
        element.setAttribute("r", String(Math.max(2.2, Math.min(4, picture.r * 0.4))));
        this.layer.append(element);
        this.dots.push({ element, bow: curve(line, picture.points, picture.r), back: line.v !== reader, began });
      }
    }
    if (this.frame === 0 && this.dots.length > 0) this.frame = requestAnimationFrame(this.move);
  }

  clear(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    for (const dot of this.dots) dot.element.remove();
    this.dots = [];
  }

  private readonly move = (now: number): void => {
    this.dots = this.dots.filter((dot) => {
      const t = (now - dot.began) / LONG;
      if (t >= 1) {
        dot.element.remove();
        return false;
      }
      const eased = t < 0.5 ? 2 * t * t : 1 - 2 * (1 - t) * (1 - t);
      const [x, y] = along(dot.bow, Math.max(0, dot.back ? 1 - eased : eased));
      dot.element.setAttribute("cx", x.toFixed(1));
      dot.element.setAttribute("cy", y.toFixed(1));
      return true;
    });
    this.frame = this.dots.length > 0 ? requestAnimationFrame(this.move) : 0;
  };
}
