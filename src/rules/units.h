/* Numbers with units, as rule files and command lines write them. A unit is required. */
#ifndef RULES_UNITS_H
#define RULES_UNITS_H

#include <stdbool.h>
#include <stdint.h>

/* "250ms", "1.5s", "2m", "24h", "100us", "7d" -> ns. False when it is no duration or does not fit. */
bool duration_parse(const char *text, uint64_t *ns);

/* "20%", "0.5%" -> ppm; at most 100 %. */
bool ratio_parse(const char *text, uint32_t *ratio_ppm);

/* "10/s", "600/m" -> per second (a rate that is no whole number of events a second is refused). */
bool rate_parse(const char *text, uint32_t *per_s);

/* "4096B", "20kB", "1.5MB", "1GB" -> bytes, by thousands. */
bool bytes_parse(const char *text, uint64_t *bytes);

/* "2", "1.5" -> ppm. */
bool factor_parse(const char *text, uint32_t *factor_ppm);

/* "5", up to UINT32_MAX. */
bool count_parse(const char *text, uint32_t *count);

#endif
