// Where records come from: the server, or the page itself where it is a file.

import type { AnyRecord, FullCall, RunRecord } from "./records";

export interface Cursor { event: number; call: number }
export interface Loaded { records: AnyRecord[]; cursor: Cursor }

export class Refusal extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

// What the server says to a request; what it refuses is one sentence for the reader.
export async function ask<T>(address: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(address, body === undefined ? {} : {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Refusal("The server does not answer. Is `agora view` still running?", 0);
  }
  const told: unknown = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) {
    const said = (told as { error?: { message?: string } } | null)?.error?.message;
    throw new Refusal(said ?? `The server refused (${response.status}).`, response.status);
  }
  return told as T;
}

export interface Source {
  load(): Promise<Loaded>;
  call(id: number): Promise<FullCall>;
  // tells what is new until it is closed; `over` when the run has ended
  follow?(cursor: Cursor, told: (records: AnyRecord[]) => void, over: (run: RunRecord | null) => void): () => void;
}

export function served(run: string): Source {
  const at = `/api/runs/${encodeURIComponent(run)}`;
  return {
    load: () => ask<Loaded>(at),
    call: (id) => ask<FullCall>(`${at}/calls/${id}`),
    follow(cursor, told, over) {
      // the browser opens it again by itself, and says with Last-Event-ID what it has
      const stream = new EventSource(`${at}/live?event=${cursor.event}&call=${cursor.call}`);
      stream.onmessage = (message) => told((JSON.parse(message.data as string) as { records: AnyRecord[] }).records);
      stream.addEventListener("over", () => {
        stream.close();
        over(null);
      });
      return () => stream.close();
    },
  };
}

interface Inlaid extends Loaded { calls: string } // gzip of a JSON list of FullCall, in base64

// The run that stands in the page itself: `agora show RUN --html FILE`; null where the page is served.
export function inlaid(): Source | null {
  const found = document.getElementById("agora-run");
  if (found === null) return null;
  const data = JSON.parse(found.textContent ?? "") as Inlaid;
  let calls: Promise<Map<number, FullCall>> | undefined;
  const unpacked = async (): Promise<Map<number, FullCall>> => {
    const bytes = Uint8Array.from(atob(data.calls), (c) => c.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    return new Map((JSON.parse(text) as FullCall[]).map((call) => [call.id, call]));
  };
  return {
    load: () => Promise.resolve(data),
    async call(id) {
      const call = (await (calls ??= unpacked())).get(id);
      if (call === undefined) throw new Refusal("This call is not in the file.", 404);
      return call;
    },
  };
}
