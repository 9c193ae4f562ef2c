//! The durable store for messages whose backends are away. Empty until the queue is built: `when_down`
//! has one behaviour today, a 4xx to the client.
