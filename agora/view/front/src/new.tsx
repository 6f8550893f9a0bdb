// The form for a new debate: what would happen is shown beside it while it is filled in.

import { useEffect, useRef, useState } from "preact/hooks";
import { BLANK, bodyOf, type Checked, type Fields, fieldsOf, fileOf, type Offers, presetOf, TOPOLOGIES, usual } from "./new/form";
import { ModelPicker } from "./new/models";
import { Preview } from "./new/preview";
import { SourcePicker } from "./new/source";
import { ask } from "./source";
import { Short } from "./text";
import { go, runAddress } from "./way";
import "./new/new.css";

const EXAMPLE = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?";
const ANSWERS: Record<string, string> = { number: "a number", yes_no: "yes or no", text: "a text" };

let draft: Fields | null = null; // what was filled in, for who goes to look at something and comes back

export function NewDebate({ query }: { query: URLSearchParams }) {
  const [fields, setFields] = useState<Fields>(() => fieldsOf(query, draft ?? BLANK));
  const [offers, setOffers] = useState<Offers | null>(null);
  const [wrong, setWrong] = useState<string | null>(null); // why it cannot be filled in, or was not started
  const [starting, setStarting] = useState(false);
  draft = fields;
  const set = (some: Partial<Fields>) => {
    setWrong(null);
    setFields((now) => ({ ...now, ...some }));
  };
  const load = () => {
    setWrong(null);
    ask<Offers>("/api/offers").then((told) => {
      setOffers(told);
      setFields((now) => {
        const file = told.files.find((one) => `file:${one.id}` === now.source);
        return {
          ...now,
          ...(now.models.length === 0 ? { models: usual(told.models) } : {}),
          ...(now.question === "" && file?.question ? { question: file.question } : {}),
        };
      });
    }, (error: Error) => setWrong(error.message));
  };
  useEffect(load, []);
  const { checked, refused, busy } = useCheck(fields, offers !== null);

  const choose = (source: string) => {
    const before = offers?.files.find((file) => file.id === fileOf(fields))?.question;
    const file = offers?.files.find((one) => `file:${one.id}` === source);
    // a file brings its question, where none was written
    const blank = fields.question.trim() === "" || fields.question === before;
    set({ source, ...(blank && file !== undefined ? { question: file.question ?? "" } : {}) });
  };
  const made = bodyOf(fields);
  const start = async () => {
    if ("wrong" in made) return setWrong(made.wrong);
    if ("lacks" in made) return setWrong(`It needs ${made.lacks}.`);
    setStarting(true);
    setWrong(null);
    try {
      const { run } = await ask<{ run: string }>("/api/debates", made.body);
      draft = { ...fields, question: "" }; // the next one is like it, with another question
      go(runAddress(run));
    } catch (error) {
      setWrong((error as Error).message);
    } finally {
      setStarting(false);
    }
  };

  if (offers === null)
    return (
      <>
        <h1>New debate</h1>
        {wrong === null ? <p class="empty" role="status">Looking for models…</p> : (
          <p class="notice wrong" role="alert"><strong>Nothing can be started.</strong> {wrong} <button type="button" onClick={load}>Try again</button></p>
        )}
      </>
    );
  const file = offers.files.find((one) => one.id === fileOf(fields));
  const preset = offers.presets.find((one) => one.name === presetOf(fields));
  const tiny = file === undefined && fields.models.length > 0 && fields.models.every((model) => model.startsWith("pocket:"));
  const free = fileOf(fields) === null;
  return (
    <>
      <h1>New debate</h1>
      <form class="new" onSubmit={(event) => { event.preventDefault(); void start(); }}>
        <div class="fill">
          <label class="field">
            <span>Question</span>
            <textarea rows={3} dir="auto" value={fields.question} maxLength={100_000} onInput={(event) => set({ question: event.currentTarget.value })} />
          </label>
          {tiny && fields.question.trim() === "" ? (
            <p class="small soft hint">
              The tiny models in the box solve word problems with small numbers.{" "}
              <button type="button" class="quiet" onClick={() => set({ question: EXAMPLE })}>Take an example</button>
            </p>
          ) : null}
          <SourcePicker offers={offers} value={fields.source} onChange={choose} />
          {free ? (
            <>
              <ModelPicker found={offers.models} roles={preset?.roles ?? []} models={fields.models} onChange={(models) => set({ models })} />
              <Details offers={offers} fields={fields} preset={preset !== undefined} set={set} />
            </>
          ) : file !== undefined && file.people.length > 0 ? (
            <p class="notice">You sit in it as {file.people.map((name, i) => <>{i > 0 ? ", " : ""}<strong><Short text={name} /></strong></>)}: this page asks you when it is your turn.</p>
          ) : null}
          <div class="row last">
            <label class="field spend">
              <span>Spend at most, USD</span>
              <input inputMode="decimal" value={fields.usd} placeholder="no limit" autocomplete="off" onInput={(event) => set({ usd: event.currentTarget.value })} />
            </label>
            <button type="submit" class="primary" disabled={starting}>{starting ? "Starting…" : "Start the debate"}</button>
          </div>
          {wrong === null ? null : <p class="notice wrong" role="alert"><strong>Not started.</strong> {wrong}</p>}
        </div>
        <section class="ahead" aria-label="What it would be">
          <h2>What it would be</h2>
          {"wrong" in made ? <p class="notice wrong">{made.wrong}</p>
            : refused !== null ? <p class="notice wrong" role="status"><strong>Not like this.</strong> {refused}</p>
            : "lacks" in made && checked === null ? <p class="empty">Who reads whom, and what it takes, once there is {made.lacks}.</p> : null}
          {checked !== null && refused === null ? <Preview checked={checked} busy={busy || !("body" in made)} /> : null}
        </section>
      </form>
    </>
  );
}

function Details(props: { offers: Offers; fields: Fields; preset: boolean; set(some: Partial<Fields>): void }) {
  const { offers, fields, preset, set } = props;
  const own = preset ? "as the protocol has it" : null;
  return (
    <>
      <div class="row">
        <label class="field">
          <span>Answer</span>
          <select value={fields.answer} onChange={(event) => set({ answer: event.currentTarget.value })}>
            <option value="">{own ?? "as fits the models"}</option>
            {offers.answers.map((kind) => <option key={kind} value={kind}>{ANSWERS[kind] ?? kind}</option>)}
          </select>
        </label>
        <label class="field rounds">
          <span>Rounds</span>
          <input inputMode="numeric" value={fields.rounds} placeholder={preset ? "the protocol's" : "2"} autocomplete="off" onInput={(event) => set({ rounds: event.currentTarget.value })} />
        </label>
        <label class="field">
          <span>Who reads whom</span>
          <select value={fields.topology} onChange={(event) => set({ topology: event.currentTarget.value })}>
            <option value="">{own ?? "complete: everybody reads everybody"}</option>
            {TOPOLOGIES.map(([name, meaning]) => <option key={name} value={name}>{name}: {meaning}</option>)}
          </select>
        </label>
      </div>
      <div class="row person">
        <label class="check">
          <input type="checkbox" checked={fields.sits} onChange={(event) => set({ sits: event.currentTarget.checked })} />
          I take part
        </label>
        {fields.sits ? (
          <label class="check">
            as
            <input value={fields.person} maxLength={80} aria-label="The name by which you take part" autocomplete="off" onInput={(event) => set({ person: event.currentTarget.value })} />
          </label>
        ) : null}
      </div>
    </>
  );
}

// What the server says a debate like this would be, asked when the filling in pauses.
function useCheck(fields: Fields, ready: boolean): { checked: Checked | null; refused: string | null; busy: boolean } {
  const [told, setTold] = useState<{ checked: Checked | null; refused: string | null }>({ checked: null, refused: null });
  const [busy, setBusy] = useState(false);
  const turn = useRef(0);
  const made = bodyOf(fields);
  const wanted = ready && "body" in made ? JSON.stringify(made.body) : null;
  useEffect(() => {
    const mine = ++turn.current;
    if (wanted === null) {
      setBusy(false);
      setTold((before) => ({ ...before, refused: null }));
      return;
    }
    setBusy(true);
    const timer = setTimeout(async () => {
      let next: { checked: Checked | null; refused: string | null };
      try {
        next = { checked: await ask<Checked>("/api/debates/check", JSON.parse(wanted)), refused: null };
      } catch (error) {
        next = { checked: null, refused: (error as Error).message };
      }
      if (mine !== turn.current) return; // the form has changed since
      setTold(next);
      setBusy(false);
    }, 400);
    return () => clearTimeout(timer);
  }, [wanted]);
  return { ...told, busy };
}
