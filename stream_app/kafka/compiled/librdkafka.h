// The part of librdkafka's public interface (rdkafka.h) that is used here, its layout frozen for years. Nothing is
// linked: librdkafka is the one that confluent-kafka brought, and its functions are handed in.

#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int err;
    void *topic;
    int32_t partition;
    void *value;
    size_t value_bytes;
    void *key;
    size_t key_bytes;
    int64_t offset;
    void *private_;
} Message;

typedef int OnNew(void *client, const void *conf, void *opaque, char *error, size_t error_bytes);
typedef int OnAcknowledgement(void *client, Message *message, void *opaque);

typedef struct {
    int (*conf_interceptor_add_on_new)(void *conf, const char *name, OnNew *on_new, void *opaque);
    int (*interceptor_add_on_acknowledgement)(void *client, const char *name, OnAcknowledgement *on, void *opaque);
    int64_t (*consume_batch_queue)(void *queue, int timeout_ms, Message **messages, size_t most);
    void (*message_destroy)(Message *message);
    int64_t (*message_timestamp)(const Message *message, int *kind);
    int (*message_headers)(const Message *message, void **headers);
    int (*header_get_all)(const void *headers, size_t index, const char **name, const void **value, size_t *bytes);
    void (*queue_forward)(void *source, void *target);
    int (*produce)(void *topic, int32_t partition, int flags, void *value, size_t value_bytes, const void *key,
                   size_t key_bytes, void *opaque);
    int (*last_error)(void);
    const char *(*topic_name)(const void *topic);
} Functions;

extern Functions kafka;
