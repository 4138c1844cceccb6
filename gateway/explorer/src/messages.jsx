import { useRef, useState } from "react";
import { fetchMessages } from "./session.js";

/** Shows the e-mails that the demo has not sent, because it has no mail server. They contain tokens for mutations. */
export function Messages() {
  const dialog = useRef(null);
  const [messages, setMessages] = useState([]);

  const open = async () => {
    setMessages(await fetchMessages());
    dialog.current.showModal();
  };

  return (
    <>
      <button type="button" onClick={open}>
        E-mails
      </button>
      <dialog ref={dialog} className="gateway-dialog gateway-messages" aria-label="E-mails">
        <p>This demo has no mail server. It would have sent these e-mails:</p>
        {messages.length === 0 && <p>None yet. Run an example such as “Request password reset”.</p>}
        {messages.map(({ id, recipient, subject, text, date }) => (
          <details key={id}>
            <summary>
              {subject} – {recipient} – {new Date(date).toLocaleTimeString()}
            </summary>
            <pre>{text}</pre>
          </details>
        ))}
        <button type="button" onClick={() => dialog.current.close()}>
          Close
        </button>
      </dialog>
    </>
  );
}
