#include "words.h"

#include <string.h>

int words_split(char *line, char **words, int most)
{
    int count = 0;
    char *read = line;
    for (;;) {
        read += strspn(read, " \t\r");
        if (!*read)
            return count;
        if (count == most)
            return -1;
        /* A word only gets shorter by losing its quotes, so it is written over itself. */
        char *write = read;
        words[count++] = write;
        char quote = '\0';
        for (; *read && (quote || !strchr(" \t\r", *read)); read++) {
            if (*read == quote)
                quote = '\0';
            else if (!quote && (*read == '\'' || *read == '"'))
                quote = *read;
            else
                *write++ = *read;
        }
        if (quote)
            return -1;
        if (*read)
            read++;
        *write = '\0';
    }
}
