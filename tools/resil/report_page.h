/* report.html, compiled in. */
#ifndef RESIL_REPORT_PAGE_H
#define RESIL_REPORT_PAGE_H

extern const unsigned char report_page[]; /* ends with a zero */
extern const unsigned long report_page_size;

#endif
