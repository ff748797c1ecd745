/* Connects once for each line that it is given, asks something, and says how that went:
 *
 *     libpq_client CONNINFO */
#include <libpq-fe.h>
#include <stdio.h>

int main(int count, char **arguments)
{
    char line[16];
    int failed = 0;
    while (count == 2 && fgets(line, sizeof line, stdin)) {
        PGconn *connection = PQconnectdb(arguments[1]);
        PGresult *result = PQexec(connection, "select 42");
        int is_good = PQresultStatus(result) == PGRES_TUPLES_OK;
        printf("%s\n", is_good ? PQgetvalue(result, 0, 0) : PQerrorMessage(connection));
        fflush(stdout);
        failed += !is_good;
        PQclear(result);
        PQfinish(connection);
    }
    return failed ? 1 : 0;
}
