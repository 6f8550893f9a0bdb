// Untrusted text, shown as text (a stand-in until the real one).
export function Said(props: { text: string; most?: number }) {
  return <bdi class="said">{props.most === undefined ? props.text : props.text.slice(0, props.most)}</bdi>;
}
