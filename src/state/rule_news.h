/* What people are told of their rule files, and of the settings that go with them. Each thing once for all the processes of a session. */
#ifndef STATE_RULE_NEWS_H
#define STATE_RULE_NEWS_H

#include <stdbool.h>
#include <stdint.h>

#include "rules/rules.h"

/* At the start: there are no good rules. On stderr only where the user named the file, and again when the files, of which
 * `version` is, or what is wrong with them have changed. */
void rule_news_bad(const char *path, const char *canonical, const struct problems *problems, bool is_named,
                   uint64_t version);
/* Somebody else has said it. */
void rule_news_bad_was_told(const struct problems *problems, uint64_t version);

/* Breakers then know of this process's calls only. */
void rule_news_private(void);

/* A setting that means nothing is left out, not guessed at. */
void rule_news_settings(void);

/* Later. `version` is that of the files: a change is told once. */
void rule_news_reloaded(const char *path, uint32_t rule_count, uint64_t version);
void rule_news_kept(const char *path, const struct problems *problems, bool is_named, uint64_t version);
void rule_news_gone(const char *path, uint64_t version);

#endif
