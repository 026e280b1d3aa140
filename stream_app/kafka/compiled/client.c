// How we come by librdkafka's handle of a client that confluent-kafka makes: librdkafka loads this library as a plugin of
// the client's configuration, and tells it of the client. See librdkafka.py.

#include "client.h"

#include <stdlib.h>
#include <string.h>

Functions kafka;

static void *newest;
static Undelivered *newest_undelivered;

void use_functions(int64_t count, const Functions *functions) {
    (void)count;
    kafka = *functions;
}

// On librdkafka's own threads: what was not delivered, a few of each kind of error.
static int on_acknowledgement(void *client, Message *message, void *opaque) {
    (void)client;
    Undelivered *undelivered = opaque;
    if (!message->err) return 0;
    for (int i = 0; i < ERRORS_MAX; i++) {
        int free = 0;
        if (atomic_compare_exchange_strong(&undelivered->errors[i].code, &free, message->err)) {
            strncpy(undelivered->errors[i].topic, kafka.topic_name(message->topic), TOPIC_BYTES_MAX);
            atomic_store(&undelivered->errors[i].is_written, 1);
            return 0;
        }
        if (free == message->err) return 0;
    }
    return 0;
}

static int on_new(void *client, const void *conf, void *opaque, char *error, size_t error_bytes) {
    (void)conf, (void)opaque, (void)error, (void)error_bytes;
    // Never freed: its threads may write after the client was given up, and there are as many as there were clients.
    Undelivered *undelivered = calloc(1, sizeof *undelivered);
    if (!undelivered) return -1;
    newest = client;
    newest_undelivered = undelivered;
    return kafka.interceptor_add_on_acknowledgement(client, "tidecast", on_acknowledgement, undelivered);
}

int conf_init(void *conf, void **opaque, char *error, size_t error_bytes) {
    (void)opaque, (void)error, (void)error_bytes;
    return kafka.conf_interceptor_add_on_new(conf, "tidecast", on_new, NULL);
}

// The client made last, and where it notes what it does not deliver; given away once, 0 when there is none.
int64_t newest_client(int64_t count, void **undelivered) {
    (void)count;
    void *client = newest;
    *undelivered = newest_undelivered;
    newest = NULL;
    return (int64_t)client;
}
