//! One session of the built-in backend: the server machine, and a message that goes to the folder as it comes.

use super::store::{Draft, Store};
use crate::{
    log::say,
    net::{Stream, now},
    smtp::{
        Reply, Status,
        server::{Action, Answer, Question, Server, Settings},
    },
};
use std::{io, sync::Arc};

/// Serves a client until one of the two ends.
pub(super) async fn serve(mut stream: Stream, settings: Arc<Settings>, store: Arc<Store>) {
    let mut server = Server::new(settings, now());
    let mut out = Vec::new();
    let mut message: Option<Draft> = None;
    let mut chunk = None;
    let mut at = 0;
    loop {
        let input: &[u8] = chunk.as_deref().map_or(&[], |bytes: &[u8]| &bytes[at..]);
        let step = server.step(now(), input, &mut out);
        let reads = step.action == Action::Read;
        match step.action {
            Action::Body(span) => write(&mut message, span.of(input)),
            Action::Insert(piece) => write(&mut message, piece),
            Action::Discard => message = None,
            Action::Ask(question) => {
                let answer = match question {
                    Question::Body => match store.draft() {
                        Ok(draft) => {
                            message.get_or_insert(draft);
                            Answer::Accept
                        }
                        Err(why) => Answer::Refuse(trouble(&why)),
                    },
                    _ => Answer::Accept,
                };
                server.answer(answer, &mut out);
            }
            Action::End => {
                let envelope = server.envelope();
                let sender = String::from_utf8_lossy(envelope.sender().whole).into_owned();
                let answer = match message.take().map(|draft| draft.keep(&store)) {
                    Some(Ok(name)) => Answer::AcceptWith(Reply::owned(
                        250,
                        Status(2, 0, 0),
                        format!("Ok: stored as {name}"),
                    )),
                    Some(Err(why)) => Answer::Refuse(trouble(&why)),
                    None => Answer::Refuse(trouble(&io::Error::other("no message"))),
                };
                say!(Debug, "maildir: a message from <{sender}>");
                server.answer(answer, &mut out);
            }
            Action::StartTls | Action::Close => {
                let _ = stream.send(out).await;
                return;
            }
            Action::Read | Action::Refused(_) => {}
        }
        at += step.consumed;
        if reads {
            let (sent, buffer) = stream.send(std::mem::take(&mut out)).await;
            out = buffer;
            stream.set_deadline(server.deadline());
            at = 0;
            // The lent bytes go back before more are asked for.
            drop(chunk.take());
            chunk = match (sent, stream.recv().await) {
                (Ok(()), Ok(Some(bytes))) => Some(bytes),
                _ => return,
            };
        }
    }
}

fn write(message: &mut Option<Draft>, piece: &[u8]) {
    if let Some(draft) = message {
        draft.write(piece);
    }
}

fn trouble(why: &io::Error) -> Reply {
    say!(Warn, "maildir: {why}");
    Reply::fixed(452, Status(4, 3, 1), "The message could not be stored")
}
