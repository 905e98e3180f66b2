// The events that the page keeps: the newest, up to a bound, each once, in the order of the hub's log. Pure.

/** So many are kept: about 15 MiB, and more than anybody reads. */
const MAX = 10_000;
/** The oldest go in batches, since moving the rest has a price. */
const BATCH = 500;

/** What orders events and tells them apart. Those of a subscriber alone (a gap of its own) have no number. */
const sequence = (event) => event.event?.sequence ?? 0;

export class EventLog {
  /** Oldest first; what came live and what was fetched. */
  events = [];
  /** How many came live, ever: what a pause counts by. */
  arrived = 0;
  /** The time from which on all is here, in milliseconds. */
  from = Date.now();
  /** How many had to go. */
  dropped = 0;

  #ids = new Set();

  /** Takes one in that came live; false where it was here already. */
  add(event) {
    const id = event.event?.id;
    if (id) {
      if (this.#ids.has(id)) return false;
      this.#ids.add(id);
    }
    this.events.push(event);
    this.arrived += 1;
    if (this.events.length > MAX + BATCH) this.#drop();
    return true;
  }

  /** Takes in what was logged since `from`. */
  addPast(events, from) {
    const fresh = events.filter((event) => event.event?.kind !== 'state' && !this.#ids.has(event.event?.id));
    for (const event of fresh) this.#ids.add(event.event?.id);
    // Stable: events of one record keep their order.
    this.events = [...fresh, ...this.events].sort((a, b) => sequence(a) - sequence(b));
    this.from = Math.min(this.from, from);
    if (this.events.length > MAX + BATCH) this.#drop();
  }

  #drop() {
    const gone = this.events.splice(0, this.events.length - MAX);
    for (const event of gone) this.#ids.delete(event.event?.id);
    this.dropped += gone.length;
    this.from = Date.parse(this.events[0]['@timestamp']);
  }
}
